"""A class annotated in half of the images only: saying so, against "what is not annotated is background".

In the half without it the class's boxes are left out and its pixels painted background, for both runs alike.
The first run is told that the class was not annotated there, so that background may be the class (the
marginal); the second is not. Same images, steps, seed and first weights.

`python benchmarks/partial.py --json partial.json`
"""

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import tyro

from blitznet.core.errors import UsageError
from blitznet.core.models import DEFAULT, get_spec
from blitznet.core.sample import Sample
from blitznet.data.dataset import Dataset
from blitznet.data.masks import RemappedMask
from blitznet.data.sources import open_sources
from learning import Chosen, halves, keep_objects, shortened, taught
from report import DATA, percent, require_images, show, write


@dataclass(frozen=True)
class Options:
    """Which class, and how long is learned."""

    name: str = "person"
    """the class"""
    steps: int = 500
    batch: int = 16
    side: int = 224
    """pixels of the network's image, in training and evaluation"""
    workers: int = 1
    threads: int = 0
    """of torch, 0: one a core"""
    seed: int = 0
    root: Path = DATA
    json: Path | None = None


@dataclass(frozen=True)
class Row:
    """One run: the class's scores, and those of all classes."""

    run: str
    minutes: float
    class_ap50: float
    class_iou: float
    ap50: float
    miou: float


def without_class(sample: Sample, label: int, *, marked: bool) -> Sample:
    """The sample without a class's boxes and pixels; `marked`: and with the word that it was not annotated."""
    annotated = np.ones(len(sample.annotated_box_classes), np.bool_)
    annotated[label] = not marked
    bare = keep_objects(sample, (sample.labels != label) | sample.crowd, sample.annotated_box_classes & annotated)
    if sample.mask is None:
        return bare
    table = np.arange(256).astype(np.uint8)
    table[label + 1] = 0
    return replace(
        bare, mask=RemappedMask(sample.mask, table), annotated_mask_classes=sample.annotated_mask_classes & annotated
    )


def run(train: Dataset, val: Dataset, options: Options, *, marked: bool) -> Row:
    """Train with the class in one half of the images, score on `val`."""
    begun = time.perf_counter()
    first, second = halves(train)
    change = partial(without_class, label=train.class_names.index(options.name), marked=marked)
    sets = [Chosen(train, first), Chosen(train, second, change)]
    name = "marked as not annotated" if marked else "absent is background"
    workers, threads = options.workers, options.threads
    config = shortened(steps=options.steps, batch=options.batch, seed=options.seed, workers=workers, threads=threads)
    scores = taught(name, sets, val, config, options.side)
    return Row(
        run=name,
        minutes=(time.perf_counter() - begun) / 60,
        class_ap50=scores.detection.per_class[options.name].score,
        class_iou=scores.segmentation.per_class[options.name].score,
        ap50=scores.detection.ap50_area or 0.0,
        miou=scores.segmentation.miou or 0.0,
    )


def main(options: Options) -> None:
    """Train twice, print, write."""
    require_images(options.root)
    classes = get_spec(DEFAULT).classes
    if options.name not in classes:
        raise UsageError(f"--name: expected one of {', '.join(classes)}, got '{options.name}'")
    voc = f"voc:{options.root}/VOCdevkit/VOC2012"
    train, val = open_sources((f"{voc}@train", f"{voc}@val"), classes)
    rows = [run(train, val, options, marked=marked) for marked in (True, False)]
    shown = [
        (row.run, f"{row.minutes:.1f}", *map(percent, (row.class_ap50, row.class_iou, row.ap50, row.miou)))
        for row in rows
    ]
    holds = rows[0].class_ap50 > rows[1].class_ap50 and rows[0].class_iou > rows[1].class_iou
    notes = [f"marking is better in AP50 and IoU of {options.name}: {'holds' if holds else 'fails'}"]
    columns = ("run", "minutes", f"{options.name} AP50", f"{options.name} IoU", "AP50", "mIoU")
    show(f"{options.name} in half of the images, {options.steps} steps, VOC2012@val", columns, shown, notes)
    write(options.json, options, rows=rows, holds=holds)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
