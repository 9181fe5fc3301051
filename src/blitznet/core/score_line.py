"""What a score says, made to mean it: Platt's line through the logits of scores (Platt, 1999), there and back.

The line rises, so detections stay in order, and what suppresses what stays the same: average precision does not
change. Limits, and all that a user sees, are told scores; the network's own ones do not leave post-processing.
"""

import math
from typing import NamedTuple

import numpy as np

from blitznet.core.arrays import Scores


class Line(NamedTuple):
    """A told score is sigmoid(logit(own score) / temperature + shift)."""

    temperature: float = 1.0
    shift: float = 0.0

    @property
    def plain(self) -> bool:
        """Whether scores are told as they are."""
        return self.temperature == 1 and self.shift == 0

    def told(self, scores: Scores) -> Scores:
        """The network's own scores (N,), told; 0 and 1 stay what they are."""
        if self.plain:
            return scores
        own = scores.astype(np.float64)
        with np.errstate(divide="ignore", over="ignore"):
            odds = np.log(own / (1 - own)) / self.temperature + self.shift
            return np.asarray(1 / (1 + np.exp(-odds)), np.float32)

    def own(self, score: float) -> float:
        """The network's own score of one that is told; what is not between 0 and 1 stays what it is."""
        if self.plain or not 0 < score < 1:
            return score
        odds = (math.log(score / (1 - score)) - self.shift) * self.temperature
        return 1 / (1 + math.exp(-odds)) if odds > 0 else math.exp(odds) / (1 + math.exp(odds))
