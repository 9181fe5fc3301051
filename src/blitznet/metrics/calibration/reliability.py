"""Whether a score means what it says: how many of the detections with a score near it are right."""

from dataclasses import dataclass

import numpy as np

from blitznet.metrics import voc_ap
from blitznet.metrics.evidence import EvaluationState
from blitznet.metrics.matching import IGNORED, TRUE_POSITIVE

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """The detections whose scores lie from `low` to below `high`; the last bin has those of score 1 too."""

    low: float
    high: float
    count: int
    score: float
    """their mean"""
    right: float
    """share 0..1 of them that found an object"""


def reliability(evidence: EvaluationState, bins: int = BINS) -> tuple[Bin, ...]:
    """The bins that have detections, of equal widths; detections that are ignored in scoring are left out."""
    verdict = voc_ap.verdicts(evidence.found, evidence.objects, evidence.rule)
    counted = verdict != IGNORED
    score, right = evidence.found.score[counted].astype(np.float64), verdict[counted] == TRUE_POSITIVE
    place = np.minimum((score * bins).astype(np.int64), bins - 1)
    count, scores, rights = (np.bincount(place, weights, bins) for weights in (None, score, right.astype(np.float64)))
    return tuple(
        Bin(n / bins, (n + 1) / bins, int(count[n]), float(scores[n] / count[n]), float(rights[n] / count[n]))
        for n in np.flatnonzero(count).tolist()
    )
