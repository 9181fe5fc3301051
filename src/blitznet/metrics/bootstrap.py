"""Bayesian bootstrap over images: confidence intervals of metrics and of differences between predictors.

Every image has a random positive weight in every round (Rubin, The Bayesian bootstrap, 1981). No image and no class
ever leaves the mean, so the draws and the printed figure are the same statistic. The draws are centered at the figure.
They are widened for classes with few images, whose draws vary too little. Detections are matched once only.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from blitznet.core.errors import UsageError
from blitznet.metrics.arrays import Float64Array
from blitznet.metrics.nanmath import mean, ratio
from blitznet.metrics.report import Interval

_BLOCK = 16
"""rounds that are computed at once; bounds the memory"""
_LEVELS = (0.025, 0.975)
"""ends of the interval as fractions of the draws"""
_LOST_IMAGES = 2.0
"""images of each class that its variance does not count: n / (n - 2) is nearly the factor (n / (n - 1))**2 of HC3"""
_POOLED_IMAGES = 2.0
"""weight of the pooled variance of all classes in that of each class, in images"""


class WeightedMetrics(Protocol):
    """Metrics that are means over classes, as functions of image weights; an `EvaluationState` is one."""

    @property
    def num_images(self) -> int:
        """Number of images N."""

    @property
    def effective_images(self) -> Mapping[str, Float64Array]:
        """Effective number of images (K,) of every class, by name of the metric."""

    def class_values(self, weights: Float64Array) -> Mapping[str, Float64Array]:
        """The metric of every class (R, K) by name, with weights (R, N); nan for classes that do not occur."""


def unit_weights(num_images: int) -> Float64Array:
    """Weights (1, N) that count every image once: they give the metric itself."""
    return np.ones((1, num_images))


def random_weights(num_images: int, rounds: int, seed: int) -> Iterator[Float64Array]:
    """Positive weights (r, N), in blocks, of `rounds` rounds: exponentially distributed with mean 1.

    Divided by their sum, they are the Dirichlet weights of the Bayesian bootstrap. Metrics do not depend on the sum.

    Raises:
        UsageError: `rounds` is not positive.
    """
    if rounds < 1:
        raise UsageError(f"bootstrap: expected 1 round or more, got {rounds}")
    rng = np.random.default_rng(seed)
    for start in range(0, rounds, _BLOCK):
        yield rng.standard_exponential((min(_BLOCK, rounds - start), num_images))


def effective_images(amounts: Float64Array) -> Float64Array:
    """Effective number of images with each class (Kish, Survey Sampling, 1965).

    It is the number of images if all have the same amount of the class, and less if few images have most of it.

    Args:
        amounts: (N, K) objects or pixels of each class in each image.

    Returns:
        (K,) effective numbers; 0 for classes that do not occur.
    """
    return ratio(amounts.sum(0) ** 2, (amounts**2).sum(0), empty=0.0)


def metric_values(metrics: WeightedMetrics) -> dict[str, float]:
    """Every metric by name, with each image counted once; nan if there is nothing to measure."""
    values = metrics.class_values(unit_weights(metrics.num_images))
    return {name: float(mean(row)[0]) for name, row in values.items()}


def confidence_interval(draws: Float64Array) -> Interval:
    """2.5th and 97.5th percentile of draws (R,), which are taken as R of R + 1 quantiles (Weibull)."""
    low, high = np.quantile(draws, _LEVELS, method="weibull")
    return float(low), float(high)


def confidence_intervals(metrics: WeightedMetrics, rounds: int, seed: int = 0) -> dict[str, Interval]:
    """95 % interval by name of every metric that can be measured; it contains the metric.

    Args:
        metrics: Metrics as a function of image weights.
        rounds: Number of bootstrap draws.
        seed: Seed of the draws.
    """
    if not metrics.num_images:
        return {}
    points = metrics.class_values(unit_weights(metrics.num_images))
    intervals = {}
    for name, values in _class_draws(metrics, rounds, seed).items():
        if not np.isnan(points[name]).all():
            draws = widened_draws(values, points[name][0], metrics.effective_images[name])
            intervals[name] = confidence_interval(draws.clip(0.0, 1.0))
    return intervals


def _class_draws(metrics: WeightedMetrics, rounds: int, seed: int) -> dict[str, Float64Array]:
    """Every metric of every class in every round: (rounds, K) by name."""
    blocks = [metrics.class_values(weights) for weights in random_weights(metrics.num_images, rounds, seed)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def widened_draws(values: Float64Array, points: Float64Array, images: Float64Array) -> Float64Array:
    """Draws (R,) of a mean over classes, centered at the mean itself and widened for classes with few images.

    Args:
        values: (R, K) the classes in every round.
        points: (K,) the classes with every image counted once; nan for classes that are left out.
        images: (K,) effective number of images of each class.
    """
    measured = ~np.isnan(points)
    values, points, images = values[:, measured], points[measured], images[measured]
    means = values.mean(1)
    return np.asarray(points.mean() + _widening(values, images) * (means - np.median(means)))


def _widening(values: Float64Array, images: Float64Array) -> float:
    """Factor of the deviations (R, K) of a mean over classes with an effective number of images (K,).

    The draws of a class with n images vary too little, and those of a class with one image hardly at all. So the
    variance of every class is corrected by HC3 (MacKinnon and White, 1985), and shrunk to that of all classes.
    """
    variances, variance = values.var(0), float(values.mean(1).var())  # (K,)
    images = np.maximum(images, 1.0)
    counted = np.maximum(images - _LOST_IMAGES, 0.0)
    if not variance or not counted.any():
        return 1.0
    squares = images * (images + 1) * variances  # Dirichlet weights of n images divide the variance by n + 1
    pooled = squares.sum() / counted.sum()
    corrected = (squares + _POOLED_IMAGES * pooled) / ((counted + _POOLED_IMAGES) * images)  # (K,)
    missing = float((corrected - variances).sum()) / len(images) ** 2
    return float(np.sqrt(1 + max(missing, 0.0) / variance))


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
    """A metric of two predictors, and its difference in every round with common weights."""

    first: float
    """metric of the first predictor"""
    second: float
    """metric of the second predictor"""
    differences: Float64Array
    """(rounds,) second - first, centered at the difference and widened for classes with few images"""


def paired_differences(
    first: WeightedMetrics, second: WeightedMetrics, rounds: int, seed: int = 0
) -> dict[str, Difference]:
    """Difference by name of every metric that both predictors have, with the same weights of the images for both."""
    return {name: mean_difference([pair]) for name, pair in paired_bootstrap(first, second, rounds, seed).items()}


def paired_bootstrap(
    first: WeightedMetrics, second: WeightedMetrics, rounds: int, seed: int = 0
) -> dict[str, PairedBootstrap]:
    """Bootstrap of both predictors with the same weights of the same images, by name of every metric of both."""
    points = [metrics.class_values(unit_weights(metrics.num_images)) for metrics in (first, second)]
    values = [_class_draws(metrics, rounds, seed) for metrics in (first, second)]
    pairs = {}
    for name, images in first.effective_images.items():
        differences = points[1][name][0] - points[0][name][0]  # (K,)
        if not np.isnan(differences).all():
            draws = widened_draws(values[1][name] - values[0][name], differences, images)
            pairs[name] = PairedBootstrap(
                float(mean(points[0][name])[0]), float(mean(points[1][name])[0]), draws.clip(-1.0, 1.0)
            )
    return pairs


def mean_difference(runs: Sequence[PairedBootstrap], seed: int = 0) -> Difference:
    """Mean difference of runs with different seeds that share the weights of the images.

    The interval resamples the runs too, so it covers the variance between training runs as well as between images.

    Args:
        runs: At least one run.
        seed: Seed of the resampling of runs.
    """
    differences = np.stack([run.differences for run in runs])  # (runs, rounds)
    drawn = np.random.default_rng(seed).integers(len(runs), size=differences.shape)
    interval = confidence_interval(np.take_along_axis(differences, drawn, 0).mean(0))
    first = float(np.mean([run.first for run in runs]))
    second = float(np.mean([run.second for run in runs]))
    return Difference(first=first, second=second, difference=second - first, interval=interval)
