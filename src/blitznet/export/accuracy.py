"""What a file costs and gains against the one it was made from: average precision, mean IoU, milliseconds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from blitznet.cli.console import bars
from blitznet.core.errors import ModelError, UsageError
from blitznet.core.sample import Sample

if TYPE_CHECKING:
    from rich.table import Table

    from blitznet.core.image import ImageSource
    from blitznet.metrics.evaluate import Dataset
    from blitznet.runtime.engine import Engine

LARGEST_DROP = 0.01
"""of pooled AP50 and of mIoU, fractions of 1"""
_TIMED = 30
"""images that the networks are timed on"""
_AP50, _MIOU = "pooled AP50", "mIoU"


@dataclass(frozen=True, slots=True)
class Figures:
    """What one engine makes of some images."""

    scores: Mapping[str, float]
    """pooled AP50 and mIoU, fractions of 1, those that could be measured"""
    milliseconds: float
    """median of the network alone, one image at a time"""


@dataclass(frozen=True, slots=True)
class AccuracyChange:
    """The same images through two engines."""

    before: Figures
    after: Figures
    images: int
    """that were scored"""

    def drops(self) -> dict[str, float]:
        """How much lower each score is afterwards; negative where it is higher."""
        return {name: score - self.after.scores[name] for name, score in self.before.scores.items()}

    def too_much(self) -> str | None:
        """The score that drops by more than is allowed, and by how much; None if none does."""
        name, drop = max(self.drops().items(), key=lambda pair: pair[1])
        if drop <= LARGEST_DROP:
            return None
        before, after = self.before.scores[name], self.after.scores[name]
        return (
            f"{name} drops from {100 * before:.1f} to {100 * after:.1f}, expected no more than {100 * LARGEST_DROP:g}"
        )


@dataclass(frozen=True, slots=True)
class Part:
    """Some samples of a data set, as a data set."""

    whole: "Dataset"
    places: tuple[int, ...]

    @property
    def title(self) -> str:
        """As the user named the whole."""
        return self.whole.title

    @property
    def class_names(self) -> tuple[str, ...]:
        """K class names."""
        return self.whole.class_names

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int, /) -> Sample:
        return self.whole[self.places[index]]


def without(dataset: "Dataset", used: Iterable[int], most: int) -> Part:
    """Up to `most` samples of a set, evenly over all but those at the places that were used for something else.

    Raises UsageError where none is left.
    """
    left = sorted(set(range(len(dataset))) - set(used))
    if not left:
        raise UsageError(f"{dataset.title}: all images are calibrated on; name others with --accuracy")
    count = min(most, len(left))
    return Part(dataset, tuple(left[number * len(left) // count] for number in range(count)))


def accuracy_change(before: "Engine", after: "Engine", datasets: "Sequence[Dataset]") -> AccuracyChange:
    """Score two engines of one network on the sets, pooled, and time their networks in turns.

    Raises UsageError where the sets have nothing to score on.
    """
    from blitznet.metrics.evaluate import EvalConfig, evaluate
    from blitznet.runtime.predictor import Predictor

    scores = []
    options = EvalConfig(tasks=before.spec.tasks)
    with bars() as show:
        for what, engine in (("images, before", before), ("images, after", after)):
            predict = partial(Predictor(engine), class_map="segmentation" in before.spec.tasks)
            total = evaluate(predict, datasets, options, watch=partial(show, what)).total
            named = {_AP50: total.detection.ap50_pooled, _MIOU: total.segmentation.miou}
            scores.append({name: score for name, score in named.items() if score is not None})
    if not scores[0]:
        titles = ", ".join(dataset.title for dataset in datasets)
        raise UsageError(f"{titles}: too few objects and no class maps to measure the accuracy on; name other sets")
    images = [dataset[place].image for dataset in datasets for place in range(len(dataset))]
    times = _milliseconds((before, after), images[:_TIMED])
    return AccuracyChange(
        Figures(scores[0], times[0]), Figures(scores[1], times[1]), sum(len(dataset) for dataset in datasets)
    )


def require_accuracy(change: AccuracyChange, path: Path) -> None:
    """Refuse a file whose scores drop by more than a point, and delete it. Raises ModelError naming the drop."""
    reason = change.too_much()
    if reason is not None:
        path.unlink(missing_ok=True)
        raise ModelError(f"{path}: {reason}; the file was not kept, keep one with --allow-drop")


def accuracy_table(change: AccuracyChange, before: str, after: str) -> "Table":
    """Both sides of a change under their names, percent and milliseconds."""
    from rich.table import Table

    table = Table(f"on {change.images} images", box=None, pad_edge=False)
    for title in (before, after, "change"):
        table.add_column(title, justify="right")
    for name, drop in change.drops().items():
        scores = (change.before.scores[name], change.after.scores[name], -drop)
        table.add_row(f"{name}, percent", f"{100 * scores[0]:.1f}", f"{100 * scores[1]:.1f}", f"{100 * scores[2]:+.1f}")
    one, other = change.before.milliseconds, change.after.milliseconds
    table.add_row("network, ms", f"{one:.1f}", f"{other:.1f}", f"x {other / one:.2f}")
    return table


def _milliseconds(engines: "Sequence[Engine]", image_sources: "Sequence[ImageSource]") -> list[float]:
    """Median of each engine's network, image by image in turns; the first image warms up."""
    from blitznet.bench.timing import timed
    from blitznet.runtime.preprocess import preprocess_batch

    times: list[list[float]] = [[] for _ in engines]
    for image in (image_sources[0], *image_sources):
        images = preprocess_batch([image], engines[0].spec)
        for engine, taken in zip(engines, times, strict=True):
            taken.append(timed(partial(engine.run, images))[1])
    return [median(taken[1:]) for taken in times]
