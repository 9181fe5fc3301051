"""Own data in minutes: the default learns three classes it never saw, from images with boxes or masks, never both.

Out of COCO's photographs in `../shared/data` two sets are made, as a user has them: one with boxes only, in COCO's
layout, and one with PNG masks only, in a plain folder. Then come the commands of docs/own-data.md, timed, and scores on
photographs of `coco@val`.

`python benchmarks/owndata.py --json owndata.json`
"""

import json
import shutil
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from PIL import Image

from blitznet.cli.main import main as blitznet
from blitznet.core.sample import Sample
from blitznet.data.sources import open_mapped, parse_source
from report import DATA, percent, require_images, say, write
from tables import Table, at_most, print_all

NEW = ("elephant", "zebra", "giraffe")
MINUTES = 10.0
OTHERS = 40
"""images without any of them, in each set: what is none has to be learned too"""


@dataclass(frozen=True)
class Options:
    """Where it is done, and how long is trained."""

    root: Path = DATA
    out: Path = Path("runs/owndata")
    steps: int = 240
    batch: int = 12
    json: Path | None = None


def prepare(coco: Path, out: Path) -> dict[str, int]:
    """Write both sets; gives how many images each has of the new classes."""
    shutil.rmtree(out, ignore_errors=True)
    masked = open_mapped(parse_source(f"coco:{coco}@train"), NEW)
    boxed = open_mapped(parse_source(f"coco:{coco}@boxes"), NEW)
    there = [masked[index] for index in range(len(masked))]
    animals = [sample for sample in there if len(sample.boxes)]
    others = [sample for sample in there if not len(sample.boxes)]
    more = [sample for sample in (boxed[index] for index in range(len(boxed))) if len(sample.boxes)]
    with_boxes, with_masks = more + animals[::2], animals[1::2]
    _write_boxes(with_boxes + others[:OTHERS], out / "boxes")
    _write_masks(with_masks + others[OTHERS : 2 * OTHERS], out / "masks")
    return {"boxes": len(with_boxes), "masks": len(with_masks)}


def _write_boxes(samples: list[Sample], folder: Path) -> None:
    """COCO's layout, without a single outline."""
    content: dict[str, list[dict[str, Any]]] = defaultdict(list)
    content["categories"] = [{"id": number, "name": name} for number, name in enumerate(NEW, start=1)]
    (folder / "train").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for number, sample in enumerate(samples, start=1):
        name = Path(sample.image.name).name
        shutil.copy(sample.image.name, folder / "train" / name)
        height, width = sample.image.size()
        content["images"].append({"id": number, "file_name": name, "height": height, "width": width})
        for (x1, y1, x2, y2), label, crowd in zip(sample.boxes.tolist(), sample.labels, sample.crowd, strict=True):
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": int(crowd)}
            known = {"id": len(content["annotations"]) + 1, "image_id": number, "category_id": int(label) + 1}
            content["annotations"].append(known | box)
    (folder / "annotations" / "instances_train.json").write_text(json.dumps(content))


def _write_masks(samples: list[Sample], folder: Path) -> None:
    """images/, masks/ and classes.txt."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    (folder / "classes.txt").write_text("\n".join(("background", *NEW)) + "\n")
    for sample in samples:
        name = Path(sample.image.name).name
        shutil.copy(sample.image.name, folder / "images" / name)
        class_map = sample.class_map()
        mask = np.zeros(sample.image.size(), np.uint8) if class_map is None else class_map
        Image.fromarray(mask).save(folder / "masks" / Path(name).with_suffix(".png").name)


def run(words: list[str]) -> float:
    """Minutes that a command takes."""
    say("blitznet " + " ".join(words))
    begun = time.monotonic()
    if blitznet(words):
        raise SystemExit("the command failed")
    return (time.monotonic() - begun) / 60


def main(options: Options) -> None:
    """Make the sets, train, score."""
    require_images(options.root)
    coco, made, model = options.root / "coco", options.out / "sets", options.out / "model"
    counts = prepare(coco, made)
    sets = [f"coco:{made / 'boxes'}@train", f"folder:{made / 'masks'}"]
    shutil.rmtree(model, ignore_errors=True)
    words = ["train", "--data", *sets, "--out", str(model)]
    minutes = run([*words, "--steps", str(options.steps), "--batch", str(options.batch)])
    scores = options.out / "scores.json"
    run(["eval", str(model), "--data", f"coco:{coco}@val", "--bootstrap", "200", "--per-class", "--json", str(scores)])
    told = json.loads(scores.read_text())
    found, painted = told["detection"], told["segmentation"]
    rows = [
        ("before", "0", "0"),
        ("after", percent(found["ap50_area"]), percent(painted["miou"])),
    ]
    sizes = f"{counts['boxes']} images with boxes, {counts['masks']} with masks, {2 * OTHERS} with none of the classes"
    table = Table("three new classes on coco@val", ("the default", "AP50", "mean IoU"), rows, (sizes,))
    verdicts = [at_most("minutes of training", minutes, MINUTES)]
    print_all([table], verdicts)
    write(options.json, options, scores=told, minutes=minutes, tables=[table], verdicts=verdicts)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
