"""Reliability diagram: accuracy of the detections by score."""

from dataclasses import dataclass

import numpy as np

from blitznet.metrics.calibration.ece import calibration_bins, detection_outcomes
from blitznet.metrics.state import EvaluationState

RELIABILITY_BINS = 10
"""bins of the diagram"""


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Detections with a score from `low` to below `high`; the last bin includes score 1."""

    low: float
    high: float
    count: int
    """detections in the bin"""
    mean_score: float
    accuracy: float
    """fraction 0..1 of true positives"""


def reliability(state: EvaluationState, num_bins: int = RELIABILITY_BINS) -> tuple[ReliabilityBin, ...]:
    """The bins of equal width that are not empty; ignored detections are left out."""
    scores, correct = detection_outcomes(state.predictions, state.objects, state.rule)
    count, score_sum, hits = calibration_bins(scores, correct, num_bins=num_bins)
    return tuple(
        ReliabilityBin(
            low=n / num_bins,
            high=(n + 1) / num_bins,
            count=int(count[n]),
            mean_score=float(score_sum[n] / count[n]),
            accuracy=float(hits[n] / count[n]),
        )
        for n in np.flatnonzero(count).tolist()
    )
