"""A class that is annotated in half of the images: marked as not annotated in the others, against background there.

In the other half the boxes of the class are removed and its pixels become background, in both runs. The first run knows
that the class is not annotated there, so background may be the class (marginal probability). The second run does not.
Images, steps, seed and initial weights are the same.

`python -m benchmarks.learning.partial --json partial.json`
"""

import time
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import tyro

from benchmarks._lib.results import Goal, Table, percent, print_results, require_images, write_json
from benchmarks._lib.training import ChangedSubset, TrainingOptions, halves, keep_objects, short_config, train_and_score
from blitznet.core.errors import UsageError
from blitznet.core.models import DEFAULT, get_spec
from blitznet.core.sample import Dataset, Sample
from blitznet.data.masks import RemappedMask
from blitznet.data.sources import open_sources


@dataclass(frozen=True)
class Options(TrainingOptions):
    """Options of the benchmark."""

    class_name: str = "person"
    """The class. Default: person."""
    steps: int = 500
    batch: int = 16
    imgsz: int = 224
    """Input size in training and evaluation, pixels. Default: 224."""
    workers: int = 1


@dataclass(frozen=True)
class Row:
    """One run: scores of the class and of all classes."""

    run: str
    minutes: float
    class_ap50: float
    class_iou: float
    ap50: float
    miou: float


def without_class(sample: Sample, label: int, *, marked: bool) -> Sample:
    """The sample without the boxes and pixels of a class; `marked`: the class counts as not annotated."""
    annotated = np.ones(len(sample.annotated_box_classes), np.bool_)
    annotated[label] = not marked
    changed = keep_objects(sample, (sample.labels != label) | sample.crowd, sample.annotated_box_classes & annotated)
    if sample.mask is None:
        return changed
    table = np.arange(256).astype(np.uint8)
    table[label + 1] = 0
    return replace(
        changed,
        mask=RemappedMask(sample.mask, table),
        annotated_mask_classes=sample.annotated_mask_classes & annotated,
    )


def run(training: Dataset, val: Dataset, options: Options, *, marked: bool) -> Row:
    """Train with the class in one half of the images, score on `val`."""
    start = time.perf_counter()
    first, second = halves(training)
    label = training.class_names.index(options.class_name)
    change = partial(without_class, label=label, marked=marked)
    sets = [ChangedSubset(training, first), ChangedSubset(training, second, change)]
    name = "marked as not annotated" if marked else "background"
    workers, threads = options.workers, options.threads
    config = short_config(steps=options.steps, batch=options.batch, seed=options.seed, workers=workers, threads=threads)
    scores = train_and_score(name, sets, val, config, options.imgsz)
    return Row(
        run=name,
        minutes=(time.perf_counter() - start) / 60,
        class_ap50=scores.detection.per_class[options.class_name].score,
        class_iou=scores.segmentation.per_class[options.class_name].score,
        ap50=scores.detection.ap50_area or 0.0,
        miou=scores.segmentation.miou or 0.0,
    )


def main(options: Options) -> None:
    """Train twice, print and write."""
    require_images(options.root)
    class_names = get_spec(DEFAULT).classes
    if options.class_name not in class_names:
        raise UsageError(f"--class-name: expected one of {', '.join(class_names)}, got '{options.class_name}'")
    voc = f"voc:{options.root}/VOCdevkit/VOC2012"
    training, val = open_sources((f"{voc}@train", f"{voc}@val"), class_names)
    rows = [run(training, val, options, marked=marked) for marked in (True, False)]
    cells = [
        (row.run, f"{row.minutes:.1f}", *map(percent, (row.class_ap50, row.class_iou, row.ap50, row.miou)))
        for row in rows
    ]
    columns = ("run", "minutes", f"{options.class_name} AP50", f"{options.class_name} IoU", "AP50", "mIoU")
    title = f"{options.class_name} in half of the images, {options.steps} steps, VOC2012@val"
    table = Table(title, columns, cells)
    gains = {"AP50": rows[0].class_ap50 - rows[1].class_ap50, "IoU": rows[0].class_iou - rows[1].class_iou}
    goals = [
        Goal(
            f"{options.class_name} {name}, marked minus background", "> 0 points", f"{100 * gain:+.1f} points", gain > 0
        )
        for name, gain in gains.items()
    ]
    print_results([table], goals)
    write_json(options.json, options, rows=rows, tables=[table], goals=goals)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
