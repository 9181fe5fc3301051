"""The gain of each augmentation at equal steps, on images that training holds out.

Every variant trains the default model as its pipeline does, with other augmentation, once for each seed. Scores are
those on the held-out part of VOC2012@train and VOC2007@trainval, chosen by a hash of the image id: AP50 of both as one
set (classes with at least 20 objects), and mean IoU on VOC2012@train. The evaluation sets are not read. What a
variant was predicted to gain is stated in the code, before it was measured. Completed runs and scores are kept in
`--out`, so the same command resumes.

`python -m benchmarks.training.augmentations --json augmentations.json`
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tyro

from benchmarks._lib.results import Table, notify, percent, print_results, require_images, write_json
from benchmarks._lib.scores import Scores, cached_scores, frequent_ap50, mean_scores
from benchmarks._lib.training import TrainingOptions
from blitznet.core.sample import Dataset, Subset
from blitznet.data.hash_split import held_out
from blitznet.data.sources import open_sources
from blitznet.metrics.evaluate import evaluate
from blitznet.nets.model_files import load_model
from blitznet.nets.torch_engine import TorchEngine
from blitznet.pipelines.pipeline import TrainStage
from blitznet.pipelines.shipped import PIPELINES
from blitznet.runtime.predictor import Predictor
from blitznet.train.config import TrainConfig
from blitznet.train.loop import train
from blitznet.train.recipes import VOC07, VOC12

SETS = (f"{VOC12}@train", f"{VOC07}@trainval")
"""sets whose held-out images are scored; the first one has masks"""


@dataclass(frozen=True)
class Variant:
    """An augmentation, and the points of AP50 and mean IoU that it was predicted to gain over the first variant."""

    changes: dict[str, Any] = field(default_factory=dict)
    """fields of TrainConfig"""
    predicted: tuple[float, float] | None = None


VARIANTS: dict[str, Variant] = {
    "strong": Variant({"policy": "strong"}),
    "plain": Variant({"policy": "plain"}, (-2.0, -1.0)),
    "light": Variant({"policy": "light"}, (-0.3, 0.0)),
    "ssd": Variant({"policy": "ssd"}, (0.2, -0.5)),
    "lsj": Variant({"policy": "lsj"}, (-0.5, -0.5)),
    "mosaic": Variant({"policy": "strong", "mosaic": 0.5}, (0.5, -0.3)),
    "copy-paste": Variant({"policy": "strong", "copy_paste": 0.5}, (0.5, 0.8)),
    "mosaic + copy-paste": Variant({"policy": "strong", "mosaic": 0.5, "copy_paste": 0.5}, (0.8, 0.5)),
}
"""the first one is what the others are compared with"""


@dataclass(frozen=True)
class Options(TrainingOptions):
    """Options of the benchmark."""

    model: str = "blitznet300-lite"
    """A model with a pipeline. Default: the default model."""
    variants: tuple[str, ...] = tuple(VARIANTS)
    """Variants to train; the first one is what the others are compared with. Default: all."""
    seeds: tuple[int, ...] = (0, 1)
    """Seeds of the runs of each variant. Default: 0 1."""
    steps: int = 1500
    """Steps of each run. Default: 1500."""
    batch: int = 16
    holdout: float = 0.1
    """Fraction of the training images that is held out and scored. Default: 0.1."""
    soft_labels: Path | None = None
    """Folder of soft labels of the training sets. Default: none."""
    cache: bool = True
    """Keep decoded images in memory. Default: yes."""
    max_images: int | None = None
    """Score at most this many images of each set, for a quick test. Default: all."""
    workers: int = 1
    out: Path = Path("runs/augmentations")
    """Folder for the runs and their scores. Default: runs/augmentations."""


@dataclass(frozen=True)
class Row:
    """Means over the seeds of one variant, and the scores of each seed."""

    variant: str
    predicted: tuple[float, float] | None
    mean: Scores
    seeds: tuple[Scores, ...]


def run_config(name: str, seed: int, options: Options) -> TrainConfig:
    """The training run of a variant: that of the model's pipeline, shorter, with the variant's augmentation."""
    base = next(stage.config for stage in PIPELINES[options.model]().stages if isinstance(stage, TrainStage))
    config = replace(
        base,
        root=options.root,
        val=(),
        holdout=options.holdout,
        steps=options.steps,
        warmup=min(base.warmup, options.steps // 8),
        batch=options.batch,
        soft_labels=options.soft_labels,
        cache="ram" if options.cache else "none",
        seed=seed,
        workers=options.workers,
        threads=options.threads,
        loggers=(),
        out=options.out / f"{name.replace(' ', '')}-{seed}",
    )
    return replace(config, **VARIANTS[name].changes)


def held_out_sets(class_names: tuple[str, ...], options: Options) -> list[Dataset]:
    """The images of `SETS` that no run trains on."""
    texts = TrainConfig(root=options.root).resolve_root(SETS)
    subsets = [held_out(dataset, options.holdout) for dataset in open_sources(texts, class_names)]
    return [Subset(subset.dataset, subset.indices[: options.max_images]) for subset in subsets]


def score_model(path: Path, options: Options) -> Scores:
    """Scores of a model file."""
    net, spec = load_model(path)
    report = evaluate(Predictor(TorchEngine(net, spec)), held_out_sets(spec.classes, options))
    return Scores(frequent_ap50(report.total), report.sets[0].segmentation.miou)


def measure(options: Options) -> list[Row]:
    """All runs and scores; seed after seed, so that an interrupted benchmark has all variants of the first seeds."""
    results: dict[str, list[Scores]] = {name: [] for name in options.variants}
    for seed in options.seeds:
        for name in options.variants:
            config = run_config(name, seed, options)

            def train_and_score(config: TrainConfig = config) -> Scores:
                return score_model(train(config, notify=notify), options)

            results[name].append(cached_scores(config.out / "scores.json", Scores, train_and_score))
            notify(f"{name}, seed {seed}: {results[name][-1]}")
    return [Row(name, VARIANTS[name].predicted, mean_scores(scores), tuple(scores)) for name, scores in results.items()]


def gain(value: float | None, reference: float | None) -> str:
    """The difference of two scores in points, with its sign."""
    return "-" if value is None or reference is None else f"{100 * (value - reference):+.1f}"


def make_table(rows: Sequence[Row], options: Options) -> Table:
    """One line for each variant: scores, and points gained over the first one, predicted and measured."""
    first = rows[0].mean
    cells = []
    for row in rows:
        predicted = ("", "") if row.predicted is None else tuple(f"{points:+.1f}" for points in row.predicted)
        gains = ("", "") if row is rows[0] else (gain(row.mean.ap50, first.ap50), gain(row.mean.miou, first.miou))
        scores = percent(row.mean.ap50), percent(row.mean.miou)
        cells.append((row.variant, scores[0], predicted[0], gains[0], scores[1], predicted[1], gains[1]))
    columns = ("augmentation", "AP50", "predicted", "gained", "mean IoU", "predicted", "gained")
    note = f"{options.steps} steps of {options.batch} images, mean of {len(options.seeds)} seeds, points over the first"
    return Table(f"augmentations of {options.model} on held-out training images", columns, cells, (note,))


def main(options: Options) -> None:
    """Train, score, print and write."""
    require_images(options.root)
    rows = measure(options)
    table = make_table(rows, options)
    print_results([table])
    write_json(options.json, options, rows=rows, tables=[table])


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
