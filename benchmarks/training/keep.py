"""Three new classes for a model, with and without `--keep`: what is kept of its classes, what is learned of the new.

A COCO dataset is made from `coco@train` and `coco@boxes` in which only the new classes are annotated; their images show
objects of the old classes, too. Every method trains on it with the recipe `finetune`, once for each seed:

- finetune: the new classes alone, so the model has no others afterwards
- all-rows: the old and the new classes, without a teacher
- keep: `--keep`
- everything: the old and the new classes, on the original annotations of all sets

Old classes are scored on VOC2012@val, VOC2007@test and coco@rare as one (AP50 of the classes with at least 20 objects)
and on VOC2012@val (mean IoU with background), new ones on the images of `coco@val` that contain them. Completed runs
and scores are kept in `--out`, so the same command resumes.

`python -m benchmarks.training.keep --json keep.json`
"""

import json
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from benchmarks._lib.results import (
    DATA,
    Goal,
    Table,
    at_least,
    notify,
    percent,
    print_results,
    require_images,
    write_json,
)
from benchmarks._lib.scores import cached_scores, mean_scores
from blitznet.core.classes import canonical
from blitznet.core.files import atomic_write
from blitznet.core.model_paths import find_weights
from blitznet.core.sample import Dataset, Subset
from blitznet.data.sources import open_sources
from blitznet.metrics.evaluate import evaluate
from blitznet.metrics.report import ClassScore, SetScores
from blitznet.metrics.voc_ap import FREQUENT_OBJECTS
from blitznet.nets.model_files import load_model
from blitznet.nets.torch_engine import TorchEngine
from blitznet.runtime.predictor import Predictor
from blitznet.train.config import TrainConfig
from blitznet.train.loop import train
from blitznet.train.recipes import VOC07, VOC12, finetune_config

Method = Literal["finetune", "all-rows", "keep", "everything"]
METHODS: tuple[Method, ...] = ("finetune", "all-rows", "keep", "everything")
OLD_SETS = (f"{VOC12}@val", f"{VOC07}@test", "coco:{root}/coco@rare")
NEW_SET = "coco:{root}/coco@val"
ALL_TRAINING_SETS = (f"{VOC12}@train", f"{VOC07}@trainval", "coco:{root}/coco@train", "coco:{root}/coco@boxes")
SPLITS = ("train", "boxes")
"""splits of the COCO images that the new classes are learned from"""
MIN_KEPT, MIN_LEARNED = 95.0, 90.0
"""goals: percent of the old scores that --keep keeps, and of fine-tuning's new AP50 that it reaches"""


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    model: str = finetune_config().model
    """Initial model: a name or a .safetensors file. Default: the default model."""
    classes: tuple[str, ...] = ("elephant", "zebra", "giraffe")
    """New classes, of COCO's 80. Default: elephant zebra giraffe."""
    negatives: int = 40
    """Images without a new class in the dataset. Default: 40."""
    methods: tuple[Method, ...] = METHODS
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = finetune_config().steps
    batch: int = finetune_config().batch
    keep_weight: float = TrainConfig().keep_weight
    max_images: int | None = None
    """Score at most this many images of each set, for a quick test. Default: all."""
    workers: int = 1
    threads: int | None = None
    """Threads of torch. Default: one per core."""
    root: Path = DATA
    """Folder of the images. Default: ../shared/data."""
    out: Path = Path("runs/keep")
    """Folder for the dataset, the runs and their scores. Default: runs/keep."""
    json: Path | None = None
    """Write the results to this file."""


@dataclass(frozen=True)
class Scores:
    """Scores of one model, fractions; None for classes that it does not have."""

    old_ap50: float | None
    old_miou: float | None
    new_ap50: float | None
    new_iou: float | None


@dataclass(frozen=True)
class Row:
    """Means over the seeds of one method, and the scores of each seed."""

    method: str
    mean: Scores
    seeds: tuple[Scores, ...] = ()


def write_own_data(root: Path, out: Path, class_names: Sequence[str], negatives: int) -> dict[str, int]:
    """Write a COCO dataset that annotates some classes only, as a user has it.

    Args:
        root: COCO folder with the splits `SPLITS`.
        out: Folder to write, with the same splits; an existing one is replaced.
        class_names: The classes.
        negatives: Number of images without them, over all splits.

    Returns:
        Number of images with each class.
    """
    shutil.rmtree(out, ignore_errors=True)
    counts = dict.fromkeys(class_names, 0)
    for number, split in enumerate(SPLITS):
        content = json.loads((root / "annotations" / f"instances_{split}.json").read_text())
        names = {item["id"]: item["name"] for item in content["categories"] if item["name"] in class_names}
        objects = [item for item in content["annotations"] if item["category_id"] in names]
        positives = {item["image_id"] for item in objects}
        others = [item["id"] for item in content["images"] if item["id"] not in positives]
        share = negatives // len(SPLITS) + (number < negatives % len(SPLITS))
        chosen = positives | {others[k] for k in np.linspace(0, len(others) - 1, min(share, len(others))).astype(int)}
        content |= {
            "images": [item for item in content["images"] if item["id"] in chosen],
            "annotations": objects,
            "categories": [item for item in content["categories"] if item["id"] in names],
        }
        (out / split).mkdir(parents=True)
        for item in content["images"]:
            shutil.copy(root / split / item["file_name"], out / split)
        atomic_write(out / "annotations" / f"instances_{split}.json", json.dumps(content).encode())
        for category, name in names.items():
            counts[name] += len({item["image_id"] for item in objects if item["category_id"] == category})
    return counts


def run_config(method: Method, seed: int, old: tuple[str, ...], options: Options) -> TrainConfig:
    """The training run of a method; `old` are the classes of the initial model."""
    known = {canonical(name) for name in old}
    all_classes = (*old, *(name for name in options.classes if canonical(name) not in known))
    own = tuple(f"coco:{options.out / 'own'}@{split}" for split in SPLITS)
    config = replace(
        finetune_config(),
        model=options.model,
        root=options.root,
        data=ALL_TRAINING_SETS if method == "everything" else own,
        class_names=all_classes if method in ("all-rows", "everything") else options.classes,
        keep=method == "keep",
        steps=options.steps,
        batch=options.batch,
        seed=seed,
        workers=options.workers,
        threads=options.threads,
        loggers=(),
        out=options.out / f"{method}-{seed}",
    )
    return replace(config, keep_weight=options.keep_weight) if method == "keep" else config


def score_model(path: Path, old: tuple[str, ...], options: Options) -> Scores:
    """Scores of a model file."""
    net, spec = load_model(path)
    predictor = Predictor(TorchEngine(net, spec))
    has = {canonical(name) for name in spec.classes}
    names = {name: {canonical(item) for item in classes} for name, classes in (("old", old), ("new", options.classes))}
    old_ap50 = old_miou = new_ap50 = new_iou = None
    if names["old"] <= has:
        sets = [_first_images(dataset, options) for dataset in _open(OLD_SETS, spec.classes, options)]
        report = evaluate(predictor, sets)
        old_ap50 = _mean_ap(report.total, names["old"], min_objects=FREQUENT_OBJECTS)
        old_miou = _mean_iou(report.sets[0], {"background", *names["old"]})
    if names["new"] <= has:
        report = evaluate(predictor, [_first_images(images_with(NEW_SET, spec.classes, options), options)])
        new_ap50 = _mean_ap(report.total, names["new"], min_objects=1)
        new_iou = _mean_iou(report.total, names["new"])
    return Scores(old_ap50, old_miou, new_ap50, new_iou)


def images_with(text: str, class_names: tuple[str, ...], options: Options) -> Dataset:
    """The images of a set that contain one of the new classes."""
    (dataset,) = _open((text,), class_names, options)
    new = {canonical(name) for name in options.classes}
    labels = [label for label, name in enumerate(class_names) if canonical(name) in new]
    return Subset(dataset, [index for index in range(len(dataset)) if np.isin(dataset[index].labels, labels).any()])


def _open(texts: Sequence[str], class_names: tuple[str, ...], options: Options) -> list[Dataset]:
    resolved = TrainConfig(root=options.root).resolve_root(tuple(texts))
    return list(open_sources(resolved, class_names))


def _first_images(dataset: Dataset, options: Options) -> Dataset:
    if options.max_images is None or options.max_images >= len(dataset):
        return dataset
    return Subset(dataset, range(options.max_images))


def _mean_ap(scores: SetScores, names: set[str], *, min_objects: int) -> float | None:
    return _mean_of(scores.detection.per_class, names, min_objects)


def _mean_iou(scores: SetScores, names: set[str]) -> float | None:
    return _mean_of(scores.segmentation.per_class, names, 1)


def _mean_of(per_class: Any, names: set[str], min_count: int) -> float | None:
    items: dict[str, ClassScore] = dict(per_class)
    values = [item.score for name, item in items.items() if canonical(name) in names and item.count >= min_count]
    return statistics.fmean(values) if values else None


def measure(options: Options) -> tuple[list[Row], tuple[str, ...]]:
    """All runs and scores; the first row is the initial model."""
    initial = find_weights(options.model)
    old = load_model(initial)[1].classes
    before = cached_scores(options.out / "before.json", Scores, lambda: score_model(initial, old, options))
    rows = [Row("before", before)]
    for method in options.methods:
        results = []
        for seed in options.seeds:
            config = run_config(method, seed, old, options)

            def train_and_score(config: TrainConfig = config) -> Scores:
                return score_model(train(config, notify=notify), old, options)

            results.append(cached_scores(config.out / "scores.json", Scores, train_and_score))
            notify(f"{method}, seed {seed}: {results[-1]}")
        rows.append(Row(method, mean_scores(results), tuple(results)))
    return rows, old


def ratio(value: float | None, reference: float | None) -> float | None:
    """A score as a fraction of another one."""
    return None if value is None or not reference else value / reference


def make_table(rows: Sequence[Row], options: Options, counts: dict[str, int]) -> Table:
    """One line for each method, scores in percent and the fraction of the reference in brackets."""
    before = rows[0].mean
    tuned = next((row.mean for row in rows if row.method == "finetune"), Scores(None, None, None, None))
    cells = []
    for row in rows:
        pairs = (
            (row.mean.old_ap50, before.old_ap50),
            (row.mean.old_miou, before.old_miou),
            (row.mean.new_ap50, tuned.new_ap50),
            (row.mean.new_iou, tuned.new_iou),
        )
        cells.append((row.method, *(f"{percent(value)} ({percent(ratio(value, base), 0)})" for value, base in pairs)))
    columns = (
        "method",
        "old AP50 (of before)",
        "old mIoU (of before)",
        "new AP50 (of finetune)",
        "new IoU (of finetune)",
    )
    images = ", ".join(f"{name} {count}" for name, count in counts.items())
    note = f"mean of {len(options.seeds)} seeds, {options.steps} steps; images with each new class: {images}"
    return Table(f"new classes for {options.model}", columns, cells, (note,))


def make_goals(rows: Sequence[Row]) -> list[Goal]:
    """What --keep must keep, and learn."""
    means = {row.method: row.mean for row in rows}
    keep, before, tuned = means.get("keep"), means["before"], means.get("finetune")
    if keep is None:
        return []
    values = [
        ("old classes, AP50 of before", ratio(keep.old_ap50, before.old_ap50), MIN_KEPT),
        ("old classes, mean IoU of before", ratio(keep.old_miou, before.old_miou), MIN_KEPT),
        (
            "new classes, AP50 of fine-tuning",
            ratio(keep.new_ap50, None if tuned is None else tuned.new_ap50),
            MIN_LEARNED,
        ),
    ]
    return [at_least(f"--keep: {what}", 100 * value, goal, " %") for what, value, goal in values if value is not None]


def main(options: Options) -> None:
    """Write the dataset, train, score, print and write."""
    require_images(options.root)
    counts_file = options.out / "own" / "images.json"
    if not counts_file.is_file():
        counts = write_own_data(options.root / "coco", options.out / "own", options.classes, options.negatives)
        atomic_write(counts_file, json.dumps(counts).encode())
    counts = json.loads(counts_file.read_text())
    rows, old = measure(options)
    table, goals = make_table(rows, options, counts), make_goals(rows)
    print_results([table], goals)
    write_json(options.json, options, rows=rows, old_classes=old, images=counts, tables=[table], goals=goals)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
