"""Confusion matrix of boxes: true and predicted class of boxes that overlap, regardless of class."""

from dataclasses import replace

import numpy as np

from blitznet.metrics import voc_ap
from blitznet.metrics.arrays import Float64Array, Int64Array
from blitznet.metrics.matching import FALSE_POSITIVE, TRUE_POSITIVE, best_objects, match_detections
from blitznet.metrics.state import EvaluationState

CONFUSION_MIN_SCORE = 0.3
"""minimum score of boxes in the confusion matrix"""


def box_confusion(state: EvaluationState, min_score: float = CONFUSION_MIN_SCORE) -> Int64Array:
    """Confusion matrix of the detections with at least `min_score`.

    Every object is matched to at most one detection, the one with the highest score. Further detections are
    predictions on background; unmatched objects are predicted as background. Detections that match an ignored
    object are left out.

    Returns:
        (C, C) boxes by true (row) and predicted (column) class, background first.
    """
    classes, keep = len(state.class_names) + 1, state.predictions.score >= np.float32(min_score)
    predictions = replace(
        state.predictions,
        image=state.predictions.image[keep],
        label=np.zeros(np.count_nonzero(keep), np.int64),
        boxes=state.predictions.boxes[keep],
        score=state.predictions.score[keep],
    )
    objects = replace(state.objects, label=np.zeros_like(state.objects.label))

    def overlap(a: Float64Array, b: Float64Array) -> Float64Array:
        return voc_ap.overlap(a, b, state.rule)

    match = match_detections(predictions, objects, overlap, lambda iou: voc_ap.is_match(iou, state.rule))
    best, _ = best_objects(predictions, objects, overlap)
    predicted, true = state.predictions.label[keep] + 1, state.objects.label + 1
    matched, matrix = best[match == TRUE_POSITIVE], np.zeros((classes, classes), np.int64)
    unmatched = ~objects.ignored
    unmatched[matched] = False
    np.add.at(matrix, (true[matched], predicted[match == TRUE_POSITIVE]), 1)
    matrix[0] += np.bincount(predicted[match == FALSE_POSITIVE], minlength=classes)
    matrix[:, 0] += np.bincount(true[unmatched], minlength=classes)
    return matrix
