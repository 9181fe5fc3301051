"""Expected calibration error (ECE) of box scores and of pixel confidence.

Guo et al., On Calibration of Modern Neural Networks, 2017. Scores are counted in bins of equal width. The error is
the mean gap between the mean score of a bin and its accuracy, weighted by the number of scores in the bin.
"""

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import IGNORE_INDEX, ClassMap, Flags, Floats, Scores
from blitznet.metrics import voc_ap
from blitznet.metrics.arrays import Float64Array
from blitznet.metrics.matching import IGNORED, TRUE_POSITIVE, ObjectTable, PredictionTable

ECE_BINS = 15
"""bins of the ECE"""
ECE_MIN_SCORE = 0.3
"""minimum score of detections in the ECE; lower ones are rarely shown"""


def calibration_bins(
    scores: NDArray[np.float32], correct: Flags, min_score: float = 0.0, num_bins: int = ECE_BINS
) -> Float64Array:
    """Count, sum of scores and number of correct predictions in bins of equal width from `min_score` to 1.

    Args:
        scores: (N,) 0..1; those below `min_score` are left out.
        correct: (N,) whether the prediction is correct.
        min_score: Lower edge of the first bin.
        num_bins: Number of bins.

    Returns:
        (3, num_bins) count, sum of scores, number of correct ones. Bins of several sets can be added.
    """
    keep = scores >= np.float32(min_score)
    scores, correct = scores[keep], correct[keep]
    index = ((scores.astype(np.float64) - min_score) * (num_bins / (1 - min_score))).astype(np.int64)
    index = index.clip(0, num_bins - 1)
    return np.stack([np.bincount(index, weights, num_bins) for weights in (None, scores, correct)]).astype(np.float64)


def detection_outcomes(
    predictions: PredictionTable, objects: ObjectTable, rule: voc_ap.MatchRule
) -> tuple[Scores, Flags]:
    """Score of every detection that is not ignored, and whether it is a true positive, (N,) each."""
    match = voc_ap.match_by_rule(predictions, objects, rule)
    scored = match != IGNORED
    return predictions.score[scored], match[scored] == TRUE_POSITIVE


def box_bins(predictions: PredictionTable, objects: ObjectTable, rule: voc_ap.MatchRule) -> Float64Array:
    """Bins (3, ECE_BINS) of the detections with at least ECE_MIN_SCORE that are not ignored."""
    return calibration_bins(*detection_outcomes(predictions, objects, rule), ECE_MIN_SCORE)


def pixel_bins(truth: ClassMap, predicted: ClassMap, confidence: Floats, annotated: Flags) -> Float64Array:
    """Bins (3, ECE_BINS) of the pixels that are not predicted as background; void is left out.

    Where the truth is background, pixels predicted as a class that is not annotated are left out too, as in
    `miou.confusion_matrix`.

    Args:
        truth: (H, W) annotated class map.
        predicted: (H, W) predicted class map.
        confidence: (H, W) probability of the predicted class.
        annotated: (K,) classes that are annotated in this mask.
    """
    unknown = np.concatenate([[False], ~annotated])[predicted] & (truth == 0)
    scored = (predicted > 0) & (truth != IGNORE_INDEX) & ~unknown
    return calibration_bins(confidence[scored], truth[scored] == predicted[scored])


def expected_calibration_error(bins: Float64Array) -> float | None:
    """ECE, 0..1, of bins (3, n); None if they are empty."""
    count, score_sum, correct = bins
    return float(np.abs(score_sum - correct).sum() / count.sum()) if count.any() else None


def ece_or_worst(bins: Float64Array) -> float:
    """ECE for a search: 1 for empty bins, so that a calibration that leaves no score is never the best."""
    error = expected_calibration_error(bins)
    return 1.0 if error is None else error
