"""Overfit eight real images with boxes and masks, as a test that the networks can learn at all.

`blitznet300-s8` starts from random weights, the default model from its pretrained encoder. Images are only resized; no
crop, flip or color jitter. They are the first eight of the list, each with a class that the images before it lack, one
to four objects, none of them `difficult` or smaller than a twentieth of the image, and a mask with VOC's ignored
borders: a class map at a stride of 8 pixels cannot represent anything thinner.

`python -m benchmarks.learning.overfit --json overfit.json`
"""

import time
from dataclasses import dataclass, replace

import tyro

from benchmarks._lib.results import (
    Goal,
    Table,
    at_least,
    notify,
    percent,
    print_results,
    require_images,
    write_json,
)
from benchmarks._lib.training import TrainingOptions, batches, log_steps, score
from blitznet.core.arrays import IGNORE_INDEX
from blitznet.core.boxes import area
from blitznet.core.models import get_spec
from blitznet.core.sample import Dataset, Sample, Subset
from blitznet.data.sources import open_sources
from blitznet.train.config import TrainConfig, TrainPrecision
from blitznet.train.initialize import make_network
from blitznet.train.trainer import fit

MIN_AP50, MIN_MIOU = 0.95, 0.90
"""goals, to be reached at the same step"""
MIN_AREA = 0.05
"""area of the smallest box, as a fraction of the image"""
COMMON = TrainConfig(policy="plain", batch=8, workers=0, weight_decay=0.0, warmup=20, clip_grad=10.0, log_every=25)
CONFIGS = {
    "blitznet300-s8": replace(
        COMMON, model="blitznet300-s8", init="random", optimizer="adam", lr=3e-4, steps=600, precision="bfloat16"
    ),
    "blitznet300-lite": replace(
        COMMON, model="blitznet300-lite", lr=1.2e-3, encoder_lr_mult=0.4, steps=600, precision="bfloat16"
    ),
}


@dataclass(frozen=True)
class Options(TrainingOptions):
    """Options of the benchmark."""

    models: tuple[str, ...] = tuple(CONFIGS)
    images: int = 8
    """Number of images. Default: 8."""
    steps: int | None = None
    """Maximum number of steps. Default: 600."""
    every: int = 25
    """Steps between evaluations. Default: 25."""
    precision: TrainPrecision | None = None
    """Precision of training. Default: bfloat16."""


@dataclass(frozen=True)
class Row:
    """The last evaluation of one model."""

    model: str
    init: str
    steps: int
    seconds: float
    """of training, without evaluations"""
    ap50: float
    miou: float
    reached: bool


def select(dataset: Dataset, count: int) -> Subset:
    """The images that the rule above selects."""
    classes: set[int] = set()
    indices: list[int] = []
    for index in range(len(dataset)):
        sample = dataset[index]
        if not set(sample.labels.tolist()) <= classes and _is_clear(sample):
            classes |= set(sample.labels.tolist())
            indices.append(index)
        if len(indices) == count:
            break
    return Subset(dataset, indices)


def _is_clear(sample: Sample) -> bool:
    height, width = sample.image.size()
    are_large = (area(sample.boxes) >= MIN_AREA * height * width).all()
    if not 1 <= len(sample.labels) <= 4 or not are_large or sample.difficult.any():
        return False
    class_map = sample.class_map()
    return class_map is not None and bool((class_map == IGNORE_INDEX).any())


def measure(model: str, options: Options) -> tuple[Row, list[str]]:
    """Train one model until it reaches both goals or its last step; return the ids of the images too."""
    config = replace(CONFIGS[model], seed=options.seed, threads=options.threads, batch=options.images)
    config = replace(config, steps=options.steps or config.steps, precision=options.precision or config.precision)
    [dataset] = open_sources((f"voc:{options.root}/VOCdevkit/VOC2012@train",), get_spec(model).classes)
    subset = select(dataset, options.images)
    net, spec = make_network(config, ())
    log = log_steps(model, config)
    rows: list[Row] = []
    start, evaluation_time = time.perf_counter(), 0.0

    def evaluate(step: int, losses: dict[str, float]) -> bool:
        nonlocal evaluation_time
        log(step, losses)
        if step % options.every and step != config.steps:
            return False
        now = time.perf_counter()
        scores = score(net, spec, subset)
        ap50, miou = scores.detection.ap50_area or 0.0, scores.segmentation.miou or 0.0
        reached = ap50 >= MIN_AP50 and miou >= MIN_MIOU
        rows.append(Row(model, config.init, step, now - start - evaluation_time, ap50, miou, reached))
        evaluation_time += time.perf_counter() - now
        notify(f"{model}: step {step}, AP50 {percent(ap50)}, mIoU {percent(miou)}")
        return reached

    fit(net, spec, batches([subset], spec, config), config, on_step=evaluate)
    return rows[-1], list(subset.ids)


def goals_of(rows: list[Row]) -> list[Goal]:
    """The goals of the benchmark."""
    return [
        goal
        for row in rows
        for goal in (
            at_least(f"{row.model}, AP50", 100 * row.ap50, 100 * MIN_AP50, " %"),
            at_least(f"{row.model}, mIoU", 100 * row.miou, 100 * MIN_MIOU, " %"),
        )
    ]


def main(options: Options) -> None:
    """Train, print and write."""
    require_images(options.root)
    results = [measure(model, options) for model in options.models]
    rows, ids = [row for row, _ in results], results[0][1]
    cells = [
        (row.model, row.init, str(row.steps), f"{row.seconds:.0f}", percent(row.ap50), percent(row.miou))
        for row in rows
    ]
    columns = ("model", "init", "steps", "seconds", "AP50", "mIoU")
    table = Table(f"overfitting {options.images} images", columns, cells, (f"images {', '.join(ids)}",))
    goals = goals_of(rows)
    print_results([table], goals)
    write_json(options.json, options, images=ids, rows=rows, tables=[table], goals=goals)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
