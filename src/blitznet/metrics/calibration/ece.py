"""Whether a probability means what it says: the expected calibration error of boxes and of painted pixels.

Guo et al., On Calibration of Modern Neural Networks, 2017: what has a score of 0.8 should be right 8 times of 10.
Scores are counted in bins of equal width; the error is the mean gap between a bin's score and its share of right
ones, each bin weighing what it has.
"""

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import IGNORE_INDEX, ClassMap, Flags, Floats, Scores
from blitznet.metrics import voc_ap
from blitznet.metrics.matching import IGNORED, TRUE_POSITIVE, ObjectTable, PredictionTable, Reals

BINS = 15
LEAST = 0.3
"""score from which a detection counts here: those below it are shown to nobody"""


def bins(score: NDArray[np.float32], right: Flags, least: float = 0.0) -> Reals:
    """Count, sum of the scores and number of right ones (3, BINS) in bins from `least` to 1; scores and right (N,)."""
    there = score >= np.float32(least)
    score, right = score[there], right[there]
    place = ((score.astype(np.float64) - least) * (BINS / (1 - least))).astype(np.int64).clip(0, BINS - 1)
    return np.stack([np.bincount(place, weights, BINS) for weights in (None, score, right)]).astype(np.float64)


def judged(found: PredictionTable, objects: ObjectTable, rule: voc_ap.Rule) -> tuple[Scores, Flags]:
    """The scores of detections and whether they are right (N,); those that are ignored in scoring are left out."""
    verdict = voc_ap.verdicts(found, objects, rule)
    counted = verdict != IGNORED
    return found.score[counted], verdict[counted] == TRUE_POSITIVE


def box_bins(found: PredictionTable, objects: ObjectTable, rule: voc_ap.Rule) -> Reals:
    """The bins (3, BINS) of detections with at least LEAST; those that are ignored in scoring are left out."""
    return bins(*judged(found, objects, rule), LEAST)


def pixel_bins(truth: ClassMap, painted: ClassMap, certainty: Floats, known: Flags) -> Reals:
    """The bins (3, BINS) of the pixels that are painted as a class, all (H, W); void is left out.

    `known` (K,) are the classes annotated in this mask: where the truth says background, pixels painted as another
    class are left out too, as in `miou.confusion`.
    """
    hidden = np.concatenate([[False], ~known])[painted] & (truth == 0)
    counted = (painted > 0) & (truth != IGNORE_INDEX) & ~hidden
    return bins(certainty[counted], truth[counted] == painted[counted])


def calibration_error(table: Reals) -> float | None:
    """The expected calibration error, 0..1, of bins (3, BINS); None where nothing is in them."""
    count, score, right = table
    return float(np.abs(score - right).sum() / count.sum()) if count.any() else None


def error_or_all(table: Reals) -> float:
    """The same for a search: where nothing is left to be wrong about, everything is lost, not won."""
    error = calibration_error(table)
    return 1.0 if error is None else error
