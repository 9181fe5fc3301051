"""Percentile bootstrap over images: confidence intervals of metrics and of differences between predictors.

Images are resampled with replacement (Efron, 1979). Detections are matched once only: an image drawn twice has
weight 2.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from blitznet.core.errors import UsageError
from blitznet.metrics.arrays import Float64Array, Int64Array
from blitznet.metrics.report import Interval

Statistics: TypeAlias = Callable[[Int64Array], Mapping[str, Float64Array]]
"""weights of the images (R, N) -> metrics (R,) by name"""

_BLOCK = 16
"""rounds that are computed at once; bounds the memory"""


def unit_weights(num_images: int) -> Int64Array:
    """Weights (1, N) that count every image once: they give the metric itself."""
    return np.ones((1, num_images), np.int64)


def resample(num_images: int, rounds: int, seed: int) -> Iterator[Int64Array]:
    """Weights (r, N), in blocks, of `rounds` draws of N images out of N with replacement.

    Raises:
        UsageError: `rounds` is not positive.
    """
    if rounds < 1:
        raise UsageError(f"bootstrap: expected 1 round or more, got {rounds}")
    rng = np.random.default_rng(seed)
    for start in range(0, rounds, _BLOCK):
        drawn = rng.integers(num_images, size=(min(_BLOCK, rounds - start), num_images))  # (r, N)
        yield np.stack([np.bincount(row, minlength=num_images) for row in drawn]).astype(np.int64)


def resampled_statistics(statistics: Statistics, num_images: int, rounds: int, seed: int) -> dict[str, Float64Array]:
    """Every metric in every round: (rounds,) by name; nan in rounds without anything to measure."""
    blocks = [statistics(weights) for weights in resample(num_images, rounds, seed)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def confidence_interval(values: Float64Array) -> Interval | None:
    """2.5th and 97.5th percentile of the values that are not nan; None if all are."""
    valid = values[~np.isnan(values)]
    if not len(valid):
        return None
    low, high = np.percentile(valid, [2.5, 97.5])
    return float(low), float(high)


def confidence_intervals(statistics: Statistics, num_images: int, rounds: int, seed: int = 0) -> dict[str, Interval]:
    """95 % interval by name of every metric that can be measured.

    Args:
        statistics: Metrics as a function of image weights.
        num_images: N.
        rounds: Number of bootstrap draws.
        seed: Seed of the draws.
    """
    if not num_images:
        return {}
    samples = resampled_statistics(statistics, num_images, rounds, seed)
    intervals = {name: confidence_interval(values) for name, values in samples.items()}
    return {name: interval for name, interval in intervals.items() if interval is not None}


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference of a metric between two predictors on the same images."""

    first: float
    """metric of the first predictor"""
    second: float
    """metric of the second predictor"""
    difference: float
    """second - first"""
    interval: Interval
    """95 % interval of the difference"""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: `first`, `second`, `difference`, `interval` ([low, high])."""
        return {
            "first": self.first,
            "second": self.second,
            "difference": self.difference,
            "interval": list(self.interval),
        }


@dataclass(frozen=True, slots=True, eq=False)
class PairedBootstrap:
    """A metric of two predictors, and its difference in every round of one common resampling."""

    first: float
    """metric of the first predictor"""
    second: float
    """metric of the second predictor"""
    differences: Float64Array
    """(rounds,) second - first; nan in rounds without anything to measure"""


def paired_differences(
    first: Statistics, second: Statistics, num_images: int, rounds: int, seed: int = 0
) -> dict[str, Difference]:
    """Difference by name of every metric that both predictors have, with both on the same resampled images."""
    pairs = paired_bootstrap(first, second, num_images, rounds, seed)
    return {name: mean_difference([pair]) for name, pair in pairs.items()}


def paired_bootstrap(
    first: Statistics, second: Statistics, num_images: int, rounds: int, seed: int = 0
) -> dict[str, PairedBootstrap]:
    """Bootstrap of both predictors on the same resampled images, by name of every metric that both have."""
    points = first(unit_weights(num_images)), second(unit_weights(num_images))
    samples = (
        resampled_statistics(first, num_images, rounds, seed),
        resampled_statistics(second, num_images, rounds, seed),
    )
    pairs = {}
    for name, point in points[0].items():
        a, b, differences = float(point[0]), float(points[1][name][0]), samples[1][name] - samples[0][name]
        if not np.isnan(b - a) and not np.isnan(differences).all():
            pairs[name] = PairedBootstrap(a, b, differences)
    return pairs


def mean_difference(runs: Sequence[PairedBootstrap], seed: int = 0) -> Difference:
    """Mean difference of runs with different seeds that share their resampling.

    The interval resamples the runs too, so it covers the variance between training runs as well as between images.

    Args:
        runs: At least one run.
        seed: Seed of the resampling of runs.
    """
    differences = np.stack([run.differences for run in runs])  # (runs, rounds)
    drawn = np.random.default_rng(seed).integers(len(runs), size=differences.shape)
    interval = confidence_interval(np.take_along_axis(differences, drawn, 0).mean(0))
    assert interval is not None  # a metric that is nan in every round has no PairedBootstrap
    first = float(np.mean([run.first for run in runs]))
    second = float(np.mean([run.second for run in runs]))
    return Difference(first=first, second=second, difference=second - first, interval=interval)
