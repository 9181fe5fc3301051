"""Accuracy and speed of an exported file compared with the file that it replaces."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from blitznet.bench.timing import timed
from blitznet.core.errors import ModelError, UsageError
from blitznet.core.image import ImageSource
from blitznet.core.progress import Progress, no_progress
from blitznet.core.sample import Dataset, Subset
from blitznet.core.selection import evenly_spaced
from blitznet.metrics.evaluate import EvalConfig, evaluate
from blitznet.runtime.engine import Engine
from blitznet.runtime.predictor import Predictor
from blitznet.runtime.preprocess import preprocess_batch

MAX_DROP = 0.01
"""of AP50 and of mIoU, fractions of 1"""
_TIMED_IMAGES = 30
"""images that the networks are timed on"""
_AP50, _MIOU = "AP50 of frequent classes", "mIoU"


@dataclass(frozen=True, slots=True)
class EngineScores:
    """Accuracy and speed of one engine."""

    scores: Mapping[str, float]
    """those of AP50 and mIoU that could be measured, fractions of 1"""
    milliseconds: float
    """median time of the network for one image"""


@dataclass(frozen=True, slots=True)
class AccuracyChange:
    """Scores of two engines on the same images."""

    before: EngineScores
    after: EngineScores
    num_images: int

    def drops(self) -> dict[str, float]:
        """Decrease of each score; negative for an increase."""
        return {name: score - self.after.scores[name] for name, score in self.before.scores.items()}

    def excessive_drop(self) -> str | None:
        """A sentence about the largest drop if it exceeds the limit; None otherwise."""
        name, drop = max(self.drops().items(), key=lambda pair: pair[1])
        if drop <= MAX_DROP:
            return None
        before, after = self.before.scores[name], self.after.scores[name]
        return (
            f"expected a drop of {name} by at most {100 * MAX_DROP:g} point, "
            f"got {100 * before:.1f} to {100 * after:.1f}"
        )


def subset_without(dataset: Dataset, used: Iterable[int], max_samples: int) -> Subset:
    """A subset of a dataset for evaluation, evenly spaced over its unused samples.

    Args:
        dataset: The dataset.
        used: Indices of samples to exclude, such as calibration images.
        max_samples: Samples to choose, at most.

    Raises:
        UsageError: All samples are excluded.
    """
    unused = sorted(set(range(len(dataset))) - set(used))
    if not unused:
        raise UsageError(f"{dataset.title}: expected images that are not calibration data, got none; add --eval-data")
    return Subset(dataset, tuple(unused[index] for index in evenly_spaced(len(unused), max_samples)))


def accuracy_change(
    before: Engine, after: Engine, datasets: Sequence[Dataset], progress: Progress = no_progress
) -> AccuracyChange:
    """Evaluate two engines of one network, and time them image by image in turns.

    Args:
        before: The reference engine.
        after: The engine of the exported file.
        datasets: Evaluation sets; scores are of all of them as one set.
        progress: Called after each evaluated image.

    Raises:
        UsageError: The sets have too few objects and no class maps.
    """
    scores = []
    config = EvalConfig(tasks=before.spec.tasks)
    for label, engine in (("images, before", before), ("images, after", after)):
        predict = partial(Predictor(engine), class_map="segmentation" in before.spec.tasks)
        total = evaluate(predict, datasets, config, progress=_with_label(progress, label)).total
        values = {_AP50: total.detection.ap50_frequent, _MIOU: total.segmentation.miou}
        scores.append({name: value for name, value in values.items() if value is not None})
    if not scores[0]:
        titles = ", ".join(dataset.title for dataset in datasets)
        raise UsageError(f"{titles}: expected enough objects or class maps to measure accuracy on, got too few")
    images = [dataset[index].image for dataset in datasets for index in range(len(dataset))]
    times = _median_milliseconds((before, after), images[:_TIMED_IMAGES])
    num_images = sum(len(dataset) for dataset in datasets)
    return AccuracyChange(EngineScores(scores[0], times[0]), EngineScores(scores[1], times[1]), num_images)


def require_accuracy(change: AccuracyChange, path: Path) -> None:
    """Delete a file whose scores drop too much, and raise ModelError."""
    reason = change.excessive_drop()
    if reason is not None:
        path.unlink(missing_ok=True)
        raise ModelError(f"{path}: {reason}; the file was deleted; keep such a file with --allow-accuracy-drop")


def _with_label(progress: Progress, name: str) -> Progress:
    """Report progress under another label."""

    def report(label: str, done: int, total: int) -> None:  # noqa: ARG001 - replaced
        progress(name, done, total)

    return report


def _median_milliseconds(engines: Sequence[Engine], image_sources: Sequence[ImageSource]) -> list[float]:
    """Median time of each engine's network, image by image in turns; the first image is repeated as warm-up."""
    times: list[list[float]] = [[] for _ in engines]
    for image in (image_sources[0], *image_sources):
        images = preprocess_batch([image], engines[0].spec)
        for engine, measured in zip(engines, times, strict=True):
            measured.append(timed(partial(engine.run, images))[1])
    return [median(measured[1:]) for measured in times]
