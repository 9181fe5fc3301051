"""Fine-tuning on own data in minutes: three new classes, from images that have either boxes or masks.

Two datasets are made from the COCO images in `../shared/data`: one with boxes only, in COCO's format, and one with PNG
masks only, as a plain folder. Then the commands of docs/tutorials/own-data.md run and are timed, and the model is
scored on `coco@val`.

`python -m benchmarks.learning.own_data --json own_data.json`
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

from benchmarks._lib.results import (
    DATA,
    Table,
    at_most,
    notify,
    percent,
    print_results,
    require_images,
    write_json,
)
from blitznet.cli.main import main as blitznet
from blitznet.core.sample import Sample
from blitznet.data.sources import open_mapped, parse_source

CLASS_NAMES = ("elephant", "zebra", "giraffe")
MAX_MINUTES = 10.0
"""goal for the time of training"""
NUM_NEGATIVES = 40
"""images without any of the classes in each dataset"""


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    root: Path = DATA
    """Folder of the images. Default: ../shared/data."""
    out: Path = Path("runs/own-data")
    """Folder for datasets and model. Default: runs/own-data."""
    steps: int = 240
    batch: int = 12
    json: Path | None = None
    """Write the results to this file."""


def write_datasets(coco: Path, out: Path) -> dict[str, int]:
    """Write both datasets; return their numbers of images with one of the classes."""
    shutil.rmtree(out, ignore_errors=True)
    masked = open_mapped(parse_source(f"coco:{coco}@train"), CLASS_NAMES)
    boxed = open_mapped(parse_source(f"coco:{coco}@boxes"), CLASS_NAMES)
    samples = [masked[index] for index in range(len(masked))]
    positives = [sample for sample in samples if len(sample.boxes)]
    negatives = [sample for sample in samples if not len(sample.boxes)]
    boxed_positives = [sample for sample in (boxed[index] for index in range(len(boxed))) if len(sample.boxes)]
    with_boxes, with_masks = boxed_positives + positives[::2], positives[1::2]
    _write_coco(with_boxes + negatives[:NUM_NEGATIVES], out / "boxes")
    _write_folder(with_masks + negatives[NUM_NEGATIVES : 2 * NUM_NEGATIVES], out / "masks")
    return {"boxes": len(with_boxes), "masks": len(with_masks)}


def _write_coco(samples: list[Sample], folder: Path) -> None:
    """A COCO dataset without masks."""
    content: dict[str, list[dict[str, Any]]] = defaultdict(list)
    content["categories"] = [{"id": number, "name": name} for number, name in enumerate(CLASS_NAMES, start=1)]
    (folder / "train").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for number, sample in enumerate(samples, start=1):
        name = Path(sample.image.name).name
        shutil.copy(sample.image.name, folder / "train" / name)
        height, width = sample.image.size()
        content["images"].append({"id": number, "file_name": name, "height": height, "width": width})
        for (x1, y1, x2, y2), label, crowd in zip(sample.boxes.tolist(), sample.labels, sample.crowd, strict=True):
            ids = {"id": len(content["annotations"]) + 1, "image_id": number, "category_id": int(label) + 1}
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": int(crowd)}
            content["annotations"].append(ids | box)
    (folder / "annotations" / "instances_train.json").write_text(json.dumps(content))


def _write_folder(samples: list[Sample], folder: Path) -> None:
    """A folder of images, masks and classes.txt."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    (folder / "classes.txt").write_text("\n".join(("background", *CLASS_NAMES)) + "\n")
    for sample in samples:
        name = Path(sample.image.name).name
        shutil.copy(sample.image.name, folder / "images" / name)
        class_map = sample.class_map()
        mask = np.zeros(sample.image.size(), np.uint8) if class_map is None else class_map
        Image.fromarray(mask).save(folder / "masks" / Path(name).with_suffix(".png").name)


def run(words: list[str]) -> float:
    """Run a command; return its time in minutes."""
    notify("blitznet " + " ".join(words))
    start = time.monotonic()
    if blitznet(words):
        raise SystemExit("the command failed")
    return (time.monotonic() - start) / 60


def main(options: Options) -> None:
    """Write the datasets, train, score, print and write."""
    require_images(options.root)
    coco, folder, model = options.root / "coco", options.out / "datasets", options.out / "model"
    counts = write_datasets(coco, folder)
    sets = [f"coco:{folder / 'boxes'}@train", f"folder:{folder / 'masks'}"]
    shutil.rmtree(model, ignore_errors=True)
    words = ["train", "--data", *sets, "--out", str(model)]
    minutes = run([*words, "--steps", str(options.steps), "--batch", str(options.batch)])
    file = options.out / "scores.json"
    run(["eval", str(model), "--data", f"coco:{coco}@val", "--bootstrap", "200", "--per-class", "--json", str(file)])
    scores = json.loads(file.read_text())
    rows = [
        ("before", "0", "0"),
        ("after", percent(scores["detection"]["ap50_area"]), percent(scores["segmentation"]["miou"])),
    ]
    note = f"{counts['boxes']} images with boxes, {counts['masks']} with masks, {2 * NUM_NEGATIVES} without the classes"
    table = Table("three new classes on coco@val", ("fine-tuning", "AP50", "mean IoU"), rows, (note,))
    goals = [at_most("minutes of training", minutes, MAX_MINUTES)]
    print_results([table], goals)
    write_json(options.json, options, scores=scores, minutes=minutes, tables=[table], goals=goals)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
