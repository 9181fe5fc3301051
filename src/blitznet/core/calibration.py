"""Platt scaling of detection scores, and its inverse (Platt, 1999).

The scaling is monotonic, so the order of detections, and with it NMS and average precision, does not change.
All thresholds and scores outside post-processing are calibrated.
"""

import math
from dataclasses import dataclass

import numpy as np

from blitznet.core.arrays import Scores


@dataclass(frozen=True, slots=True)
class PlattScaling:
    """A calibrated score is sigmoid(logit(score) / temperature + bias)."""

    temperature: float = 1.0
    bias: float = 0.0

    @property
    def is_identity(self) -> bool:
        """Whether calibrated scores equal the network's."""
        return self.temperature == 1 and self.bias == 0

    def apply(self, scores: Scores) -> Scores:
        """Calibrate scores (N,); 0 and 1 stay as they are."""
        if self.is_identity:
            return scores
        raw = scores.astype(np.float64)
        with np.errstate(divide="ignore", over="ignore"):
            logits = np.log(raw / (1 - raw)) / self.temperature + self.bias
            return np.asarray(1 / (1 + np.exp(-logits)), np.float32)

    def inverse(self, score: float) -> float:
        """The network's score that is calibrated to `score`; values outside 0..1 stay as they are."""
        if self.is_identity or not 0 < score < 1:
            return score
        logit = (math.log(score / (1 - score)) - self.bias) * self.temperature
        return 1 / (1 + math.exp(-logit)) if logit > 0 else math.exp(logit) / (1 + math.exp(logit))
