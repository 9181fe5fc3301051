"""Boxes on one half of the images, masks on the other, against both on all, and against each half alone.

Four runs of the default model from its trunk, with the same steps, images a step, seed and first weights;
they differ only in what was annotated. Halves are made by a hash of the images' ids. A half alone has half the
images a step, so that it sees its own as often as the mixed run does: it is that run without the other half.
With `--alone-batch 16` it sees them twice as often, which in short runs counts for more than anything else.

`python benchmarks/mixed.py --json mixed.json`
"""

import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from blitznet.core.models import DEFAULT, get_spec
from blitznet.data.dataset import Dataset
from blitznet.data.sources import open_sources
from learning import Chosen, halves, shortened, taught, without_boxes, without_mask
from report import DATA, percent, require_images, show, write

KEPT = 0.85
"""of the full run's score, that the mixed run keeps in each task"""


@dataclass(frozen=True)
class Options:
    """How long is learned, and on what."""

    steps: int = 1600
    batch: int = 16
    alone_batch: int = 8
    """images a step of the runs that have one half alone"""
    side: int = 160
    """pixels of the network's image, in training and evaluation"""
    images: int = 600
    """only so many of the training images, evenly spaced in their list; 0: all"""
    workers: int = 1
    threads: int = 0
    """of torch, 0: one a core"""
    seed: int = 0
    root: Path = DATA
    json: Path | None = None


@dataclass(frozen=True)
class Row:
    """One run: on what, and how well; a task that it was not taught is None."""

    run: str
    boxes: int
    """images with boxes"""
    masks: int
    minutes: float
    ap50: float | None
    miou: float | None


@dataclass(frozen=True)
class Verdict:
    """One task's."""

    task: str
    of_full: float
    ahead: float
    """of the half alone"""
    holds: bool


def run(name: str, sets: list[Chosen], val: Dataset, options: Options) -> Row:
    """Train on the sets and score on `val`."""
    begun = time.perf_counter()
    batch = options.alone_batch if name.endswith("alone") else options.batch
    workers, threads = options.workers, options.threads
    config = shortened(steps=options.steps, batch=batch, seed=options.seed, workers=workers, threads=threads)
    scores = taught(name, sets, val, config, options.side)
    boxes = sum(len(part) for part in sets if part.change is not without_boxes)
    masks = sum(len(part) for part in sets if part.change is not without_mask)
    ap50 = scores.detection.ap50_area if boxes else None
    miou = scores.segmentation.miou if masks else None
    return Row(name, boxes, masks, (time.perf_counter() - begun) / 60, ap50, miou)


def runs(train: Dataset) -> dict[str, list[Chosen]]:
    """What each run learns from."""
    first, second = halves(train)
    boxes, masks = Chosen(train, first, without_mask), Chosen(train, second, without_boxes)
    return {
        "both on all": [Chosen(train, first), Chosen(train, second)],
        "boxes here, masks there": [boxes, masks],
        "boxes alone": [boxes],
        "masks alone": [masks],
    }


def judge(task: str, full: float | None, mixed: float | None, alone: float | None) -> Verdict:
    """What the runs' scores in one task say."""
    assert full is not None, "this run was taught the task"
    assert mixed is not None, "and so was this"
    assert alone is not None, "and this"
    share = mixed / full if full else 0.0
    return Verdict(task, share, mixed - alone, holds=share >= KEPT and mixed > alone)


def main(options: Options) -> None:
    """Train four times, print, write."""
    require_images(options.root)
    voc = f"voc:{options.root}/VOCdevkit/VOC2012"
    train, val = open_sources((f"{voc}@train", f"{voc}@val"), get_spec(DEFAULT).classes)
    step = max(1, len(train) // options.images) if options.images else 1
    part = Chosen(train, range(0, len(train), step)[: options.images or None])
    rows = [run(name, sets, val, options) for name, sets in runs(part).items()]
    full, mixed, boxes, masks = rows
    verdicts = [
        judge("AP50", full.ap50, mixed.ap50, boxes.ap50),
        judge("mIoU", full.miou, mixed.miou, masks.miou),
    ]
    shown = [
        (row.run, str(row.boxes), str(row.masks), f"{row.minutes:.1f}", percent(row.ap50), percent(row.miou))
        for row in rows
    ]
    notes = [
        f"{verdict.task}: mixed is {percent(verdict.of_full)} of both on all (expected {percent(KEPT, 0)}), "
        f"{100 * verdict.ahead:+.1f} points to its half alone: {'holds' if verdict.holds else 'fails'}"
        for verdict in verdicts
    ]
    columns = ("run", "boxes", "masks", "minutes", "AP50", "mIoU")
    show(f"{options.steps} steps, scored on VOC2012@val", columns, shown, notes)
    write(options.json, options, rows=rows, verdicts=verdicts)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
