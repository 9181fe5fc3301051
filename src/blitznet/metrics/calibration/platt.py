"""The line through the logits of boxes' scores at which they mean what they say (Platt, 1999), found on images.

A slope alone, which is a temperature, cannot mend scores that are too high where they are low and too low where they
are high; a line can. It is the one under which what was right and wrong is likeliest, and what it is worth is told by
two halves of the images, each by the other's line.
"""

from dataclasses import dataclass, field

import numpy as np

from blitznet.core.arrays import Flags, Scores
from blitznet.core.calibration import PlattScaling
from blitznet.core.errors import DataError
from blitznet.metrics.calibration.ece import LEAST, bins, error_or_all
from blitznet.metrics.matching import Reals

FROM = 0.1
"""score from which a detection has a say: some below those that count, for the line moves scores across that border"""
_PASSES = 50
"""of Newton's method, which needs a handful"""
_STEEPEST = 0.05
"""least temperature: where right and wrong lie apart altogether no slope is steep enough"""


@dataclass(frozen=True, slots=True)
class Fit:
    """What was found; errors are expected calibration errors, 0..1."""

    line: PlattScaling
    plain: float
    """error as the network has it"""
    error: float
    """error by the line, on the images it was found on"""
    two_fold: float
    """error of each half of the images by the line of the other half"""


@dataclass(eq=False)
class Platt:
    """Scores, and whether they were right, of every other image apart."""

    scores: tuple[list[Scores], list[Scores]] = field(default_factory=lambda: ([], []))
    right: tuple[list[Flags], list[Flags]] = field(default_factory=lambda: ([], []))

    def add(self, image: int, score: Scores, right: Flags) -> None:
        """Add a image's detections, scores and right (N,): those of at least FROM."""
        there = score >= np.float32(FROM)
        self.scores[image % 2].append(score[there])
        self.right[image % 2].append(right[there])

    def found(self) -> Fit | None:
        """The likeliest line; None where nothing was counted. Raises DataError where half the images have nothing."""
        halves = [self._half(number) for number in (0, 1)]
        if not any(len(score) for score, _ in halves):
            return None
        if not all(len(score) for score, _ in halves):
            raise DataError("calibration: expected labelled things on several images, got one; give more images")
        score, right = (np.concatenate(parts) for parts in zip(*halves, strict=True))
        lines = [fitted(*half) for half in halves]
        crossed = [_bins(by, *half) for by, half in zip(reversed(lines), halves, strict=True)]
        best = fitted(score, right)
        error, two_fold = error_or_all(_bins(best, score, right)), error_or_all(np.sum(crossed, 0))
        return Fit(best, error_or_all(bins(score, right, LEAST)), error, two_fold)

    def _half(self, number: int) -> tuple[Scores, Flags]:
        empty = np.zeros(0, np.float32)
        return (
            np.concatenate([empty, *self.scores[number]]).astype(np.float32),
            np.concatenate([empty > 0, *self.right[number]]),
        )


def fitted(score: Scores, right: Flags) -> PlattScaling:
    """The line under which these are likeliest; scores and right (N,).

    One detection's worth of belief in the scores as they are keeps it finite where right and wrong lie apart.
    """
    logit = _logit(score)
    points = np.stack([logit, np.ones_like(logit)], 1)  # (N, 2)
    start = np.array([1.0, 0.0])
    line, prior = start, np.eye(2) / max(1, len(points))
    for _ in range(_PASSES):
        said = 1 / (1 + np.exp(-points @ line))
        slope = points.T @ (said - right) / len(points) + prior @ (line - start)
        curve = (points * (said * (1 - said))[:, None]).T @ points / len(points) + prior
        step = np.linalg.solve(curve, slope)
        line = line - step * min(1.0, 2.0 / float(np.abs(step).max(initial=1e-9)))
        if np.abs(step).max() < 1e-9:
            break
    # a line that falls would say that worse boxes are better ones: scores stay in order, as flat as it may be
    steep = float(np.clip(line[0], _STEEPEST, 1 / _STEEPEST))
    return PlattScaling(round(1 / steep, 4), round(float(line[1]), 4))


def _logit(score: Scores) -> Reals:
    sure = score.astype(np.float64).clip(1e-6, 1 - 1e-6)
    return np.asarray(np.log(sure / (1 - sure)))


def _bins(line: PlattScaling, score: Scores, right: Flags) -> Reals:
    return bins(line.apply(score), right, LEAST)
