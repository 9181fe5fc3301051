"""How much of a figure is chance: percentile intervals by drawing the images again.

Nothing is matched again: a image drawn twice weighs twice (Efron, 1979).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from blitznet.core.errors import UsageError
from blitznet.metrics.matching import Numbers, Reals
from blitznet.metrics.report import Interval

Statistics: TypeAlias = Callable[[Numbers], Mapping[str, Reals]]
"""figures (R,) by name from how often each image counts: weights (R, N)"""

BLOCK = 16
"""draws that are scored together: bounds the memory"""


def once(images: int) -> Numbers:
    """Weights (1, N) under which every image counts once: the figure itself."""
    return np.ones((1, images), np.int64)


def draws(images: int, rounds: int, seed: int) -> Iterator[Numbers]:
    """Weights (r, N), in blocks, of `rounds` draws of N images out of N with replacement."""
    if rounds < 1:
        raise UsageError(f"bootstrap: expected 1 round or more, got {rounds}")
    rng = np.random.default_rng(seed)
    for start in range(0, rounds, BLOCK):
        picked = rng.integers(images, size=(min(BLOCK, rounds - start), images))  # (r, N)
        yield np.stack([np.bincount(row, minlength=images) for row in picked]).astype(np.int64)


def sampled(statistics: Statistics, images: int, rounds: int, seed: int) -> dict[str, Reals]:
    """Every figure under every draw: (rounds,) by name; nan where a draw had nothing to measure."""
    blocks = [statistics(weights) for weights in draws(images, rounds, seed)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def interval(values: Reals) -> Interval | None:
    """Ends of the middle 95 % of what is not nan; None where nothing is."""
    there = values[~np.isnan(values)]
    if not len(there):
        return None
    low, high = np.percentile(there, [2.5, 97.5])
    return float(low), float(high)


def intervals(statistics: Statistics, images: int, rounds: int, seed: int = 0) -> dict[str, Interval]:
    """95 % interval of every figure that can be measured, by name."""
    if not images:
        return {}
    ends = {name: interval(values) for name, values in sampled(statistics, images, rounds, seed).items()}
    return {name: pair for name, pair in ends.items() if pair is not None}


@dataclass(frozen=True, slots=True)
class Difference:
    """How far the second of two predictors is ahead of the first on the same images."""

    first: float
    second: float
    difference: float
    """second - first"""
    interval: Interval
    """95 % interval of the difference"""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "first": self.first,
            "second": self.second,
            "difference": self.difference,
            "interval": list(self.interval),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Two predictors' figure, and how far the second is ahead under each draw of the images."""

    first: float
    second: float
    differences: Reals
    """(rounds,) second - first; nan where a draw had nothing to measure"""


def paired(first: Statistics, second: Statistics, images: int, rounds: int, seed: int = 0) -> dict[str, Difference]:
    """Difference of every figure that both have, the same images drawn for both."""
    found = drawn(first, second, images, rounds, seed)
    return {name: over_runs([one]) for name, one in found.items()}


def drawn(first: Statistics, second: Statistics, images: int, rounds: int, seed: int = 0) -> dict[str, Drawn]:
    """Both predictors under the same draws, for every figure that both have."""
    points = first(once(images)), second(once(images))
    values = sampled(first, images, rounds, seed), sampled(second, images, rounds, seed)
    differences = {}
    for name, point in points[0].items():
        a, b, ahead = float(point[0]), float(points[1][name][0]), values[1][name] - values[0][name]
        if not np.isnan(b - a) and not np.isnan(ahead).all():
            differences[name] = Drawn(a, b, ahead)
    return differences


def over_runs(runs: Sequence[Drawn], seed: int = 0) -> Difference:
    """Mean difference of runs that were scored under the same draws; its interval draws the runs again as well.

    So what another training would have given counts as chance, as what other images would have shown does.
    """
    ahead = np.stack([run.differences for run in runs])  # (runs, rounds)
    picked = np.random.default_rng(seed).integers(len(runs), size=ahead.shape)
    ends = interval(np.take_along_axis(ahead, picked, 0).mean(0))
    assert ends is not None  # of a mean that is nan in each round there is no figure either
    first, second = (float(np.mean(side)) for side in ([run.first for run in runs], [run.second for run in runs]))
    return Difference(first=first, second=second, difference=second - first, interval=ends)
