"""Boxes on one half of the images and masks on the other, against both on all images, and against each half alone.

Four runs of the default config from the pretrained encoder, with the same steps, batch, seed and initial weights; only
the annotations differ. A hash of the ids splits the images. The runs on a half alone use half the batch, so they see
each of their images as often as the mixed run does.

`python -m benchmarks.learning.mixed --json mixed.json`
"""

import time
from dataclasses import dataclass

import tyro

from benchmarks._lib.results import Goal, Table, at_least, percent, print_results, require_images, write_json
from benchmarks._lib.training import (
    ChangedSubset,
    TrainingOptions,
    halves,
    short_config,
    train_and_score,
    without_boxes,
    without_mask,
)
from blitznet.core.models import DEFAULT, get_spec
from blitznet.core.sample import Dataset, Subset
from blitznet.data.sources import open_sources

MIN_FRACTION = 0.85
"""goal: score of the mixed run in each task, as a fraction of the score of the run with both on all images"""


@dataclass(frozen=True)
class Options(TrainingOptions):
    """Options of the benchmark."""

    steps: int = 1600
    batch: int = 16
    alone_batch: int = 8
    """Batch of the runs on one half alone. Default: 8."""
    imgsz: int = 160
    """Input size in training and evaluation, pixels. Default: 160."""
    images: int | None = 600
    """Number of training images, evenly spaced. Default: 600."""
    workers: int = 1


@dataclass(frozen=True)
class Row:
    """One run; the score of a task without annotations is None."""

    run: str
    boxes: int
    """images with boxes"""
    masks: int
    """images with a mask"""
    minutes: float
    ap50: float | None
    miou: float | None


def run(name: str, sets: list[ChangedSubset], val: Dataset, options: Options) -> Row:
    """Train on the sets and score on `val`."""
    start = time.perf_counter()
    batch = options.alone_batch if name.endswith("alone") else options.batch
    workers, threads = options.workers, options.threads
    config = short_config(steps=options.steps, batch=batch, seed=options.seed, workers=workers, threads=threads)
    scores = train_and_score(name, sets, val, config, options.imgsz)
    boxes = sum(len(subset) for subset in sets if subset.change is not without_boxes)
    masks = sum(len(subset) for subset in sets if subset.change is not without_mask)
    ap50 = scores.detection.ap50_area if boxes else None
    miou = scores.segmentation.miou if masks else None
    return Row(name, boxes, masks, (time.perf_counter() - start) / 60, ap50, miou)


def runs(dataset: Dataset) -> dict[str, list[ChangedSubset]]:
    """The training sets of each run."""
    first, second = halves(dataset)
    boxes, masks = ChangedSubset(dataset, first, without_mask), ChangedSubset(dataset, second, without_boxes)
    return {
        "both on all": [ChangedSubset(dataset, first), ChangedSubset(dataset, second)],
        "mixed": [boxes, masks],
        "boxes alone": [boxes],
        "masks alone": [masks],
    }


def goals_of(task: str, full: float | None, mixed: float | None, alone: float | None) -> list[Goal]:
    """The goals of one task."""
    assert full is not None
    assert mixed is not None
    assert alone is not None
    fraction = mixed / full if full else 0.0
    return [
        at_least(f"{task}, mixed, as a fraction of both on all", 100 * fraction, 100 * MIN_FRACTION, " %"),
        Goal(f"{task}, mixed minus alone", "> 0 points", f"{100 * (mixed - alone):+.1f} points", mixed > alone),
    ]


def main(options: Options) -> None:
    """Train four times, print and write."""
    require_images(options.root)
    voc = f"voc:{options.root}/VOCdevkit/VOC2012"
    training, val = open_sources((f"{voc}@train", f"{voc}@val"), get_spec(DEFAULT).classes)
    step = max(1, len(training) // options.images) if options.images else 1
    subset = Subset(training, range(0, len(training), step)[: options.images])
    rows = [run(name, sets, val, options) for name, sets in runs(subset).items()]
    full, mixed, boxes, masks = rows
    goals = [
        *goals_of("AP50", full.ap50, mixed.ap50, boxes.ap50),
        *goals_of("mIoU", full.miou, mixed.miou, masks.miou),
    ]
    cells = [
        (row.run, str(row.boxes), str(row.masks), f"{row.minutes:.1f}", percent(row.ap50), percent(row.miou))
        for row in rows
    ]
    columns = ("run", "boxes", "masks", "minutes", "AP50", "mIoU")
    table = Table(f"{options.steps} steps, scored on VOC2012@val", columns, cells)
    print_results([table], goals)
    write_json(options.json, options, rows=rows, tables=[table], goals=goals)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
