"""Instance masks out of boxes and class map: mask AP50, panoptic quality and milliseconds, beside two plain ways.

The plain ways: every pixel of the box, and the class map's pixels of its class inside the box.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from faster_coco_eval import COCO, COCOeval_faster
from faster_coco_eval.core import mask as coco_mask
from PIL import Image as Pillow

from blitznet import load
from blitznet.bench.timing import timed
from blitznet.core.classes import canonical
from blitznet.core.errors import BlitzNetError, UsageError
from blitznet.integrations.coco import coco_panoptic, coco_runs
from blitznet.metrics.panoptic import PanopticCounts
from blitznet.postprocess.instances import Instances, Mask, Panoptic, SegmentInfo, merge_panoptic
from blitznet.postprocess.result import Result, Segmentation
from report import DATA, percent, require_images, say, show, write

SHOWN = 0.3
"""score from which a box has a say in a panoptic map"""
OBJECTS = 10
SIZE = (375, 500)
"""of the image that is timed"""


@dataclass(frozen=True)
class Options:
    """What is cut, and how often it is timed."""

    root: Path = DATA
    model: str = "blitznet300-lite"
    split: str = "val"
    repeats: int = 100
    results: Path | None = None
    """folder for COCO results and panoptic maps of each way, as COCO has them"""
    json: Path | None = None


@dataclass(frozen=True, eq=False)
class Truth:
    """The split's own file, of the classes that the model knows."""

    content: dict[str, Any]
    images: tuple[dict[str, Any], ...]

    @classmethod
    def read(cls, path: Path, names: Sequence[str]) -> "Truth":
        """With labels + 1 for category ids."""
        if not path.is_file():
            raise UsageError(f"{path}: there is no such file; --split names one of its neighbours")
        content = json.loads(path.read_bytes())
        labels = {canonical(name): label for label, name in enumerate(names)}
        ours = {one["id"]: labels.get(canonical(one["name"])) for one in content["categories"]}
        objects = [
            one | {"category_id": label + 1}
            for one in content["annotations"]
            if (label := ours[one["category_id"]]) is not None
        ]
        categories = [{"id": label + 1, "name": name} for label, name in enumerate(names)]
        return cls(content | {"annotations": objects, "categories": categories}, tuple(content["images"]))

    def panoptic(self, image: dict[str, Any]) -> tuple[Panoptic, Mask]:
        """The objects of a image as segments, the later over the earlier, and its crowds as void."""
        ids = np.zeros((image["height"], image["width"]), np.uint16)
        void, labels = np.zeros(ids.shape, np.bool_), []
        for one in self.content["annotations"]:
            if one["image_id"] == image["id"]:
                mask = _decoded(one["segmentation"], ids.shape)
                if one["iscrowd"]:
                    void |= mask
                else:
                    labels.append(one["category_id"] - 1)
                    ids[mask] = len(labels)
        areas = np.bincount(ids.ravel(), minlength=len(labels) + 1)
        segments = (SegmentInfo(n, label, None, int(areas[n])) for n, label in enumerate(labels, start=1))
        return Panoptic(ids, tuple(one for one in segments if one.area)), void & (ids == 0)


def filled(result: Result) -> Instances:
    """Every pixel of the box."""
    found = result.instances()
    return replace(found, crop_masks=tuple(np.ones_like(part) for part in found.crop_masks))


def cut(result: Result) -> Instances:
    """The class map's pixels inside the box."""
    found, class_map = result.instances(), result.class_map
    assert class_map is not None
    pairs = zip(found.crops, found.labels, strict=True)
    return replace(found, crop_masks=tuple(class_map[window] == label + 1 for window, label in pairs))


WAYS: dict[str, Callable[[Result], Instances]] = {
    "box, filled": filled,
    "class map, cut at the box": cut,
    "instances()": lambda result: result.instances(),
}


def main(options: Options) -> None:
    """Find, cut, score, time."""
    require_images(options.root)
    predictor = load(options.model)
    folder = options.root / "coco"
    truth = Truth.read(folder / "annotations" / f"instances_{options.split}.json", predictor.spec.classes)
    say(f"{len(truth.images)} images")
    results = [predictor(folder / options.split / image["file_name"]) for image in truth.images]
    scores = {name: _scores(way, results, truth, options.results, name) for name, way in WAYS.items()}
    milliseconds = _milliseconds(results, options.repeats)
    of_box, of_map, ours = (scores[name]["mask AP50"] for name in WAYS)
    show(
        f"coco@{options.split}, {len(truth.images)} images, {options.model}",
        ("masks", *next(iter(scores.values()))),
        [(name, *(percent(value) for value in row.values())) for name, row in scores.items()],
        (
            f"mask AP50: {ours / of_box:.2f} times the filled box's (expected 1.5), "
            f"{ours / of_map:.2f} times the cut class map's (expected 1.05)",
            f"instances and panoptic map of {OBJECTS} objects, {SIZE[1]}x{SIZE[0]}: {milliseconds:.2f} ms (expected 3)",
        ),
    )
    write(options.json, options, scores=scores, milliseconds=milliseconds)


def _scores(
    way: Callable[[Result], Instances], results: Sequence[Result], truth: Truth, folder: Path | None, name: str
) -> dict[str, float]:
    """Mask AP and AP50 of all detections, panoptic quality of the clear ones."""
    rows = [row for image, result in zip(truth.images, results, strict=True) for row in _rows(image, way(result))]
    entries: list[dict[str, Any]] = []
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(rows))
    counts = PanopticCounts(len(results[0].class_names))
    for image, result in zip(truth.images, results, strict=True):
        assert result.class_map is not None
        whole = merge_panoptic(way(result.filter(min_score=SHOWN)), result.class_map)
        counts.update(whole, *truth.panoptic(image))
        if folder is not None:
            entries.append(_written(whole, image, range(1, len(result.class_names) + 1), folder / f"panoptic_{name}"))
    if folder is not None:
        told = {"images": truth.images, "categories": truth.content["categories"], "annotations": entries}
        (folder / f"panoptic_{name}.json").write_text(json.dumps(told))
    judge = COCOeval_faster(COCO(truth.content), COCO(truth.content).loadRes(rows), "segm")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    return {"mask AP": judge.stats[0], "mask AP50": judge.stats[1], "PQ": counts.compute().mean or 0.0}


def _written(whole: Panoptic, image: dict[str, Any], categories: Sequence[int], folder: Path) -> dict[str, Any]:
    """Write a image's panoptic map as COCO has them; gives its entry in the list."""
    folder.mkdir(exist_ok=True)
    name = Path(image["file_name"]).with_suffix(".png").name
    picture, entry = coco_panoptic(whole, image["id"], categories, file_name=name)
    Pillow.fromarray(picture).save(folder / name)
    return entry


def _rows(image: dict[str, Any], found: Instances) -> Iterator[dict[str, Any]]:
    """COCO results."""
    for index, (score, label) in enumerate(zip(found.scores, found.labels, strict=True)):
        yield {
            "image_id": image["id"],
            "category_id": int(label) + 1,
            "score": float(score),
            "segmentation": coco_runs(found.mask(index)),
        }


def _decoded(outline: Any, size: tuple[int, ...]) -> Mask:
    """Polygons or run lengths, as COCO's files have them -> (H, W)."""
    height, width = size
    if isinstance(outline, list):
        outline = coco_mask.merge(coco_mask.frPyObjects(outline, height, width))
    elif isinstance(outline["counts"], list):
        outline = coco_mask.frPyObjects(outline, height, width)
    return np.asarray(coco_mask.decode(outline), np.bool_)


def _milliseconds(results: Sequence[Result], repeats: int) -> float:
    """Median of cutting a image whose objects are the best of several images."""
    fitting = [one for one in results if one.size[1] > one.size[0] and one.segmentation_logits is not None]
    many = max(fitting, key=lambda one: int((one.scores >= SHOWN).sum()))
    scale = np.array([SIZE[1] / many.size[1], SIZE[0] / many.size[0]] * 2, np.float32)
    empty, logits = np.zeros(SIZE, np.uint8), many.segmentation_logits
    assert logits is not None
    timings = []
    for _ in range(repeats):
        result = Result(
            many.boxes[:OBJECTS] * scale,
            many.scores[:OBJECTS],
            many.labels[:OBJECTS],
            many.class_names,
            SIZE,
            segmentation=Segmentation(SIZE, lambda: empty, compute_logits=lambda: logits),
        )
        timings.append(timed(result.panoptic)[1])
    return float(np.median(timings))


if __name__ == "__main__":
    try:
        main(tyro.cli(Options, description=__doc__))
    except BlitzNetError as error:
        raise SystemExit(f"error: {error}") from error
