"""Fit of Platt scaling (Platt, 1999) to the scores and outcomes of detections.

Temperature scaling alone cannot correct scores that are too high at the low end and too low at the high end; a
slope and a bias can. They maximize the likelihood of the outcomes. Their benefit is estimated by 2-fold
cross-validation over images.
"""

from dataclasses import dataclass, field

import numpy as np

from blitznet.core.arrays import Flags, Scores
from blitznet.core.calibration import PlattScaling
from blitznet.core.errors import DataError
from blitznet.metrics.arrays import Float64Array
from blitznet.metrics.calibration.ece import ECE_MIN_SCORE, calibration_bins, ece_or_worst

FIT_MIN_SCORE = 0.1
"""minimum score of detections in the fit; below ECE_MIN_SCORE, because the scaling moves scores across it"""
_MAX_ITERATIONS = 50
"""Newton steps; a few suffice"""
_MIN_SLOPE = 0.05
"""bounds the slope to 0.05..20; perfectly separable outcomes have no finite optimum"""


@dataclass(frozen=True, slots=True)
class PlattFit:
    """Platt scaling and its effect; errors are expected calibration errors, 0..1."""

    scaling: PlattScaling
    ece_before: float
    """error of the network's own scores"""
    ece_after: float
    """error with the scaling, on the images of the fit"""
    cross_validated_ece: float
    """error of each half of the images with the scaling of the other half"""


@dataclass(eq=False)
class PlattFitter:
    """Accumulates scores and outcomes of detections, separately for images with even and odd numbers."""

    scores: tuple[list[Scores], list[Scores]] = field(default_factory=lambda: ([], []))
    correct: tuple[list[Flags], list[Flags]] = field(default_factory=lambda: ([], []))

    def update(self, image: int, scores: Scores, correct: Flags) -> None:
        """Add the detections of one image: scores and correct (N,); those below FIT_MIN_SCORE are left out."""
        keep = scores >= np.float32(FIT_MIN_SCORE)
        self.scores[image % 2].append(scores[keep])
        self.correct[image % 2].append(correct[keep])

    def fit(self) -> PlattFit | None:
        """Fit the scaling; None without detections.

        Raises:
            DataError: One half of the images has no detections.
        """
        halves = [self._half(number) for number in (0, 1)]
        if not any(len(scores) for scores, _ in halves):
            return None
        if not all(len(scores) for scores, _ in halves):
            raise DataError("calibration: expected labeled objects in at least two images, got one; add more images")
        scores, correct = (np.concatenate(parts) for parts in zip(*halves, strict=True))
        scalings = [fit_platt(*half) for half in halves]
        held_out = [_scaled_bins(fold, *half) for fold, half in zip(reversed(scalings), halves, strict=True)]
        scaling = fit_platt(scores, correct)
        return PlattFit(
            scaling=scaling,
            ece_before=ece_or_worst(calibration_bins(scores, correct, ECE_MIN_SCORE)),
            ece_after=ece_or_worst(_scaled_bins(scaling, scores, correct)),
            cross_validated_ece=ece_or_worst(np.sum(held_out, 0)),
        )

    def _half(self, number: int) -> tuple[Scores, Flags]:
        empty = np.zeros(0, np.float32)
        return (
            np.concatenate([empty, *self.scores[number]]).astype(np.float32),
            np.concatenate([empty > 0, *self.correct[number]]),
        )


def fit_platt(scores: Scores, correct: Flags) -> PlattScaling:
    """The scaling of maximum likelihood.

    A prior toward the identity, with the weight of one detection, keeps the optimum finite for separable outcomes.

    Args:
        scores: (N,) 0..1.
        correct: (N,) whether the detection is a true positive.
    """
    logits = _logits(scores)
    inputs = np.stack([logits, np.ones_like(logits)], 1)  # (N, 2)
    identity = np.array([1.0, 0.0])
    weights, prior = identity, np.eye(2) / max(1, len(inputs))
    for _ in range(_MAX_ITERATIONS):
        probs = 1 / (1 + np.exp(-inputs @ weights))
        gradient = inputs.T @ (probs - correct) / len(inputs) + prior @ (weights - identity)
        hessian = (inputs * (probs * (1 - probs))[:, None]).T @ inputs / len(inputs) + prior
        step = np.linalg.solve(hessian, gradient)
        weights = weights - step * min(1.0, 2.0 / float(np.abs(step).max(initial=1e-9)))
        if np.abs(step).max() < 1e-9:
            break
    # A negative slope would reverse the order of the detections.
    slope = float(np.clip(weights[0], _MIN_SLOPE, 1 / _MIN_SLOPE))
    return PlattScaling(round(1 / slope, 4), round(float(weights[1]), 4))


def _logits(scores: Scores) -> Float64Array:
    probs = scores.astype(np.float64).clip(1e-6, 1 - 1e-6)
    return np.asarray(np.log(probs / (1 - probs)))


def _scaled_bins(scaling: PlattScaling, scores: Scores, correct: Flags) -> Float64Array:
    return calibration_bins(scaling.apply(scores), correct, ECE_MIN_SCORE)
