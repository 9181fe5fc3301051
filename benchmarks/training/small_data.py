"""The recipe `finetune` and variants of it on 80 to 100 images: what a user with little data gets.

Three small sets: animals of COCO (boxes and some masks), cows and sheep of VOC (boxes and masks), and street scenes
(masks only). Every variant trains on each set once for each seed, from the default model, and is scored on images that
no run trains on. `SSDLite heads` trains the heads of SSDLite on its frozen encoder, and `SSDLite, all` everything.

The score of a set is the mean of its AP50 and mean IoU, or the one that it has. Variants are compared by the mean of
their score's ratio to the recipe's, over the sets that they have a score for. Completed runs are kept in `--out`, so
the same command resumes.

`python -m benchmarks.training.small_data --json small_data.json`
"""

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
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
from benchmarks._lib.scores import Scores, cached_scores, frequent_ap50, mean_scores
from benchmarks._lib.training import TrainingOptions, batches, log_steps
from blitznet.core.sample import Dataset, Subset
from blitznet.core.spec import Task
from blitznet.data.sources import open_sources
from blitznet.metrics.evaluate import EvalConfig, evaluate
from blitznet.nets.torch_engine import TorchEngine
from blitznet.runtime.predictor import Predictor
from blitznet.train.config import TrainConfig
from blitznet.train.initialize import make_network
from blitznet.train.recipes import VOC07, VOC12, finetune_config
from blitznet.train.trainer import fit

MIN_RATIO = 1.15
"""goal: score of the best variant, as a multiple of the recipe's"""
BOTH: tuple[Task, ...] = ("detection", "segmentation")


@dataclass(frozen=True)
class SmallSet:
    """A small training set, and what models are scored on."""

    class_names: tuple[str, ...]
    training: tuple[str, ...]
    """datasets from which the images are chosen"""
    scored: tuple[str, ...]
    """datasets of other images; (): the images of `training` that are not chosen"""
    num_images: int
    tasks: tuple[Task, ...] = BOTH


SETS: dict[str, SmallSet] = {
    "coco-animals": SmallSet(
        ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"),
        ("coco:{root}/coco@train", "coco:{root}/coco@boxes"),
        ("coco:{root}/coco@val", "coco:{root}/coco@rare"),
        100,
    ),
    "voc-sheep": SmallSet(("cow", "sheep"), (f"{VOC12}@train",), (f"{VOC12}@val", f"{VOC07}@test"), 100),
    "camvid": SmallSet(
        ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "person", "bicyclist"),
        ("folder:{root}/camvid",),
        (),
        80,
        ("segmentation",),
    ),
}


@dataclass(frozen=True)
class Variant:
    """A way to fine-tune."""

    changes: dict[str, Any] = field(default_factory=dict)
    """fields of TrainConfig that differ from the recipe"""
    tasks: tuple[Task, ...] = BOTH
    """tasks that the network has"""
    steps: float = 1.0
    """steps, as a multiple of the recipe's"""


_SSDLITE = {"model": "ssd300-lite", "init": "encoder"}
VARIANTS: dict[str, Variant] = {
    "recipe": Variant(),
    "SSDLite heads": Variant(_SSDLITE | {"freeze": ("encoder", "downscale")}, ("detection",)),
    "SSDLite, all": Variant(_SSDLITE, ("detection",)),
    "frozen encoder": Variant({"freeze": ("encoder", "downscale")}),
    "encoder rate 0.1": Variant({"encoder_lr_mult": 0.1}),
    "encoder rate 1": Variant({"encoder_lr_mult": 1.0}),
    "frozen norms": Variant({"freeze_bn": ("all",)}),
    "rate x 2": Variant({"lr": 2 * finetune_config().lr}),
    "rate / 2": Variant({"lr": finetune_config().lr / 2}),
    "strong": Variant({"policy": "strong"}),
    "copy-paste": Variant({"copy_paste": 0.5}),
    "steps / 2": Variant(steps=0.5),
    "steps x 2": Variant(steps=2.0),
}
"""the first one is what the others are compared with"""


@dataclass(frozen=True)
class Options(TrainingOptions):
    """Options of the benchmark."""

    sets: tuple[str, ...] = tuple(SETS)
    """Small sets. Default: all."""
    variants: tuple[str, ...] = tuple(VARIANTS)
    """Variants to train; the recipe is always one. Default: all."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the runs of each variant. Default: 0 1 2."""
    steps: int = finetune_config().steps
    """Steps of the recipe. Default: the recipe's."""
    batch: int = finetune_config().batch
    max_images: int | None = None
    """Score at most this many images of each set, for a quick test. Default: all."""
    workers: int = 1
    out: Path = Path("runs/small-data")
    """Folder for the scores. Default: runs/small-data."""


@dataclass(frozen=True)
class Row:
    """Scores of a variant on one set: the mean over the seeds, and those of each seed."""

    variant: str
    set: str
    mean: Scores
    seeds: tuple[Scores, ...]


def open_set(small: SmallSet, options: Options) -> tuple[list[Dataset], list[Dataset]]:
    """The training images and those to score.

    The training images are evenly spaced among those that show one of the classes, or among all if there are no boxes.
    """
    config = TrainConfig(root=options.root)
    training: list[Dataset] = list(open_sources(config.resolve_root(small.training), small.class_names))
    candidates = [
        (number, index)
        for number, dataset in enumerate(training)
        for index in range(len(dataset))
        if small.tasks == ("segmentation",) or len(dataset[index].labels)
    ]
    positions = np.linspace(0, len(candidates) - 1, min(small.num_images, len(candidates))).astype(int)
    chosen = {candidates[position] for position in positions}
    sets = [_subset(dataset, number, chosen) for number, dataset in enumerate(training)]
    scored: list[Dataset]
    if small.scored:
        scored = list(open_sources(config.resolve_root(small.scored), small.class_names))
    else:
        rest = {row for row in candidates if row not in chosen}
        scored = [_subset(dataset, number, rest) for number, dataset in enumerate(training)]
    return sets, [Subset(dataset, range(len(dataset))[: options.max_images]) for dataset in scored]


def _subset(dataset: Dataset, number: int, rows: set[tuple[int, int]]) -> Dataset:
    return Subset(dataset, [index for index in range(len(dataset)) if (number, index) in rows])


def run_config(variant: str, small: SmallSet, seed: int, options: Options) -> TrainConfig:
    """The options of a run; its images are given to `fit`."""
    base, chosen = finetune_config(), VARIANTS[variant]
    steps = max(1, round(options.steps * chosen.steps))
    config = replace(
        base,
        class_names=small.class_names,
        tasks=tuple(task for task in small.tasks if task in chosen.tasks),
        steps=steps,
        warmup=min(base.warmup, steps // 8),
        batch=options.batch,
        seed=seed,
        workers=options.workers,
        threads=options.threads,
        log_every=50,
        loggers=(),
    )
    return replace(config, **chosen.changes)


def train_and_score(name: str, config: TrainConfig, sets: Sequence[Dataset], scored: Sequence[Dataset]) -> Scores:
    """Train one network, and score it."""
    net, spec = make_network(config, ())
    net = fit(net, spec, batches(sets, spec, config), config, on_step=log_steps(name, config))
    total = evaluate(Predictor(TorchEngine(net, spec)), scored, EvalConfig(tasks=spec.tasks)).total
    has_boxes, has_masks = ("detection" in config.tasks, "segmentation" in config.tasks)
    return Scores(frequent_ap50(total) if has_boxes else None, total.segmentation.miou if has_masks else None)


def measure(options: Options) -> list[Row]:
    """All runs and scores; seed after seed, so that an interrupted benchmark has all variants of the first seeds."""
    names = ["recipe", *(name for name in options.variants if name != "recipe")]
    results: dict[tuple[str, str], list[Scores]] = {}
    options.out.mkdir(parents=True, exist_ok=True)
    opened = {title: open_set(SETS[title], options) for title in options.sets}
    for seed in options.seeds:
        for title in options.sets:
            for variant in names:
                config = run_config(variant, SETS[title], seed, options)
                if not config.tasks:  # the variant has no task of the set
                    continue
                name = f"{title}, {variant}, seed {seed}"

                def compute(name: str = name, config: TrainConfig = config, title: str = title) -> Scores:
                    return train_and_score(name, config, *opened[title])

                scores = cached_scores(options.out / f"{_file_name(name)}.json", Scores, compute)
                results.setdefault((variant, title), []).append(scores)
                notify(f"{name}: {scores}")
    return [Row(variant, title, mean_scores(scores), tuple(scores)) for (variant, title), scores in results.items()]


def _file_name(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower())


def set_score(scores: Scores) -> float:
    """The mean of the scores that exist."""
    return statistics.fmean(value for value in (scores.ap50, scores.miou) if value is not None)


def ratios(rows: Sequence[Row]) -> dict[str, float]:
    """For each variant, the mean over its sets of its score as a multiple of the recipe's.

    A variant of one task is compared with the recipe in that task.
    """
    recipe = {row.set: row.mean for row in rows if row.variant == "recipe"}
    values: dict[str, list[float]] = {}
    for row in rows:
        base = recipe[row.set]
        same = Scores(
            base.ap50 if row.mean.ap50 is not None else None, base.miou if row.mean.miou is not None else None
        )
        values.setdefault(row.variant, []).append(set_score(row.mean) / max(set_score(same), 1e-9))
    return {variant: statistics.fmean(items) for variant, items in values.items()}


def make_table(rows: Sequence[Row], options: Options) -> Table:
    """One line for each variant: AP50 and mean IoU on each set, and the ratio to the recipe."""
    means = {(row.variant, row.set): row.mean for row in rows}
    columns = ["fine-tuning"]
    for title in options.sets:
        columns += [f"{title}: AP50" for _ in (1,) if "detection" in SETS[title].tasks]
        columns += [f"{title}: mean IoU" for _ in (1,) if "segmentation" in SETS[title].tasks]
    cells = []
    for variant, value in ratios(rows).items():
        line = [variant]
        for title in options.sets:
            mean = means.get((variant, title), Scores(None, None))
            line += [percent(mean.ap50) for _ in (1,) if "detection" in SETS[title].tasks]
            line += [percent(mean.miou) for _ in (1,) if "segmentation" in SETS[title].tasks]
        cells.append((*line, f"{value:.2f}"))
    note = f"{options.steps} steps of {options.batch} images, mean of {len(options.seeds)} seeds"
    return Table("fine-tuning on 80 to 100 images", (*columns, "of the recipe"), cells, (note,))


def make_goals(rows: Sequence[Row]) -> list[Goal]:
    """What the best variant with all tasks must reach."""
    complete = {name: value for name, value in ratios(rows).items() if VARIANTS[name].tasks == BOTH}
    best = max(complete, key=complete.__getitem__)
    return [at_least(f"best variant ({best}), score as a multiple of the recipe's", complete[best], MIN_RATIO)]


def main(options: Options) -> None:
    """Train, score, print and write."""
    require_images(options.root)
    rows = measure(options)
    table, goals = make_table(rows, options), make_goals(rows)
    print_results([table], goals)
    write_json(options.json, options, rows=rows, ratios=ratios(rows), tables=[table], goals=goals)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
