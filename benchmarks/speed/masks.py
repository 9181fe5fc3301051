"""Instance masks from boxes and class map: mask AP50, panoptic quality and milliseconds, beside two simple methods.

The simple methods: all pixels of the box, and the pixels of the box's class in the class map.

`python -m benchmarks.speed.masks --json masks.json`
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
from PIL import Image

from benchmarks._lib.results import (
    DATA,
    Table,
    at_least,
    at_most,
    notify,
    percent,
    print_results,
    require_images,
    write_json,
)
from blitznet import load
from blitznet.bench.timing import timed
from blitznet.core.classes import canonical
from blitznet.core.errors import BlitzNetError, UsageError
from blitznet.integrations.coco import to_coco_panoptic, to_coco_rle
from blitznet.metrics.panoptic import PanopticCounts
from blitznet.postprocess.instances import Instances, Mask, Panoptic, SegmentInfo, merge_panoptic
from blitznet.postprocess.result import Result, Segmentation

MIN_SCORE = 0.3
"""minimum score of the detections in a panoptic segmentation"""
OBJECTS = 10
"""objects in the image that is timed"""
SIZE = (375, 500)
"""(H, W) of the image that is timed"""
TIMES_BOX, TIMES_CUT, MAX_MS = 1.5, 1.05, 3.0
"""goals: mask AP50 as a multiple of each simple method's, and milliseconds of `Result.panoptic()`"""


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    root: Path = DATA
    """Folder of the images. Default: ../shared/data."""
    model: str = "blitznet300-lite"
    """Model name or file. Default: blitznet300-lite."""
    split: str = "val"
    """Split of COCO. Default: val."""
    repeats: int = 100
    """Repetitions of the timing. Default: 100."""
    results: Path | None = None
    """Folder for the results and panoptic maps of each method in COCO's format."""
    json: Path | None = None
    """Write the results to this file."""


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The annotation file of the split, reduced to the model's classes."""

    content: dict[str, Any]
    images: tuple[dict[str, Any], ...]

    @classmethod
    def read(cls, path: Path, class_names: Sequence[str]) -> "GroundTruth":
        """Read the file; category ids become class id + 1."""
        if not path.is_file():
            raise UsageError(
                f"{path}: expected a file, got a path that does not exist; name an existing split with --split"
            )
        content = json.loads(path.read_bytes())
        labels = {canonical(name): label for label, name in enumerate(class_names)}
        label_of_category = {entry["id"]: labels.get(canonical(entry["name"])) for entry in content["categories"]}
        objects = [
            annotation | {"category_id": label + 1}
            for annotation in content["annotations"]
            if (label := label_of_category[annotation["category_id"]]) is not None
        ]
        categories = [{"id": label + 1, "name": name} for label, name in enumerate(class_names)]
        return cls(content | {"annotations": objects, "categories": categories}, tuple(content["images"]))

    def panoptic(self, image: dict[str, Any]) -> tuple[Panoptic, Mask]:
        """The objects of an image as segments, later ones over earlier ones, and the ignored pixels of its crowds."""
        ids = np.zeros((image["height"], image["width"]), np.uint16)
        ignored, labels = np.zeros(ids.shape, np.bool_), []
        for annotation in self.content["annotations"]:
            if annotation["image_id"] == image["id"]:
                mask = _decode(annotation["segmentation"], ids.shape)
                if annotation["iscrowd"]:
                    ignored |= mask
                else:
                    labels.append(annotation["category_id"] - 1)
                    ids[mask] = len(labels)
        areas = np.bincount(ids.ravel(), minlength=len(labels) + 1)
        segments = (SegmentInfo(n, label, None, int(areas[n])) for n, label in enumerate(labels, start=1))
        return Panoptic(ids, tuple(segment for segment in segments if segment.area)), ignored & (ids == 0)


def filled_boxes(result: Result) -> Instances:
    """All pixels of each box."""
    instances = result.instances()
    return replace(instances, crop_masks=tuple(np.ones_like(mask) for mask in instances.crop_masks))


def class_map_in_boxes(result: Result) -> Instances:
    """The pixels of the box's class in the class map."""
    instances, class_map = result.instances(), result.class_map
    assert class_map is not None
    pairs = zip(instances.crops, instances.labels, strict=True)
    return replace(instances, crop_masks=tuple(class_map[crop] == label + 1 for crop, label in pairs))


METHODS: dict[str, Callable[[Result], Instances]] = {
    "filled boxes": filled_boxes,
    "class map inside the box": class_map_in_boxes,
    "instances()": lambda result: result.instances(),
}


def main(options: Options) -> None:
    """Predict, score, time, print and write."""
    require_images(options.root)
    predictor = load(options.model)
    folder = options.root / "coco"
    truth = GroundTruth.read(folder / "annotations" / f"instances_{options.split}.json", predictor.spec.classes)
    notify(f"{len(truth.images)} images")
    results = [predictor.all_detections(folder / options.split / image["file_name"]) for image in truth.images]
    scores = {name: _scores(method, results, truth, options.results, name) for name, method in METHODS.items()}
    milliseconds = _milliseconds(results, options.repeats)
    of_box, of_map, of_instances = (scores[name]["mask AP50"] for name in METHODS)
    table = Table(
        f"coco@{options.split}, {len(truth.images)} images, {options.model}",
        ("masks", *next(iter(scores.values()))),
        [(name, *(percent(value) for value in row.values())) for name, row in scores.items()],
    )
    goals = [
        at_least("mask AP50 against filled boxes", of_instances / of_box, TIMES_BOX, " times"),
        at_least("mask AP50 against the class map inside the box", of_instances / of_map, TIMES_CUT, " times"),
        at_most(f"panoptic() of {OBJECTS} objects, {SIZE[1]}x{SIZE[0]}", milliseconds, MAX_MS, " ms"),
    ]
    print_results([table], goals)
    write_json(options.json, options, scores=scores, milliseconds=milliseconds, tables=[table], goals=goals)


def _scores(
    method: Callable[[Result], Instances],
    results: Sequence[Result],
    truth: GroundTruth,
    folder: Path | None,
    name: str,
) -> dict[str, float]:
    """Mask AP and AP50 of all detections, and PQ of those from MIN_SCORE on."""
    rows = [
        row for image, result in zip(truth.images, results, strict=True) for row in _coco_rows(image, method(result))
    ]
    entries: list[dict[str, Any]] = []
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(rows))
    counts = PanopticCounts(len(results[0].class_names))
    for image, result in zip(truth.images, results, strict=True):
        assert result.class_map is not None
        panoptic = merge_panoptic(method(result.filter(min_score=MIN_SCORE)), result.class_map)
        counts.update(panoptic, *truth.panoptic(image))
        if folder is not None:
            category_ids = range(1, len(result.class_names) + 1)
            entries.append(_write_panoptic(panoptic, image, category_ids, folder / f"panoptic_{name}"))
    if folder is not None:
        content = {"images": truth.images, "categories": truth.content["categories"], "annotations": entries}
        (folder / f"panoptic_{name}.json").write_text(json.dumps(content))
    evaluation = COCOeval_faster(COCO(truth.content), COCO(truth.content).loadRes(rows), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return {"mask AP": evaluation.stats[0], "mask AP50": evaluation.stats[1], "PQ": counts.compute().mean or 0.0}


def _write_panoptic(
    panoptic: Panoptic, image: dict[str, Any], category_ids: Sequence[int], folder: Path
) -> dict[str, Any]:
    """Write an image's panoptic map in COCO's format; return its annotation."""
    folder.mkdir(exist_ok=True)
    name = Path(image["file_name"]).with_suffix(".png").name
    pixels, entry = to_coco_panoptic(panoptic, image["id"], category_ids, file_name=name)
    Image.fromarray(pixels).save(folder / name)
    return entry


def _coco_rows(image: dict[str, Any], instances: Instances) -> Iterator[dict[str, Any]]:
    """The instances of an image as COCO results."""
    for index, (score, label) in enumerate(zip(instances.scores, instances.labels, strict=True)):
        yield {
            "image_id": image["id"],
            "category_id": int(label) + 1,
            "score": float(score),
            "segmentation": to_coco_rle(instances.mask(index)),
        }


def _decode(segmentation: Any, size: tuple[int, ...]) -> Mask:
    """The mask (H, W) of COCO's polygons or run lengths."""
    height, width = size
    if isinstance(segmentation, list):
        segmentation = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        segmentation = coco_mask.frPyObjects(segmentation, height, width)
    return np.asarray(coco_mask.decode(segmentation), np.bool_)


def _milliseconds(results: Sequence[Result], repeats: int) -> float:
    """Median time of `panoptic()` for the OBJECTS best detections of the image with most objects, scaled to SIZE."""
    landscape = [
        result for result in results if result.size[1] > result.size[0] and result.segmentation_logits is not None
    ]
    crowded = max(landscape, key=lambda result: int((result.scores >= MIN_SCORE).sum()))
    scale = np.array([SIZE[1] / crowded.size[1], SIZE[0] / crowded.size[0]] * 2, np.float32)
    class_map, logits = np.zeros(SIZE, np.uint8), crowded.segmentation_logits
    assert logits is not None
    times = []
    for _ in range(repeats):
        result = Result(
            crowded.boxes[:OBJECTS] * scale,
            crowded.scores[:OBJECTS],
            crowded.labels[:OBJECTS],
            crowded.class_names,
            SIZE,
            segmentation=Segmentation(SIZE, lambda: class_map, compute_logits=lambda: logits),
        )
        times.append(timed(result.panoptic)[1])
    return float(np.median(times))


if __name__ == "__main__":
    try:
        main(tyro.cli(Options, description=__doc__))
    except BlitzNetError as error:
        raise SystemExit(f"error: {error}") from error
