"""Mean intersection over union of class maps at the original image size."""

import numpy as np

from blitznet.core.arrays import IGNORE_INDEX, ClassMap, Flags
from blitznet.core.errors import DataError
from blitznet.metrics.arrays import Float64Array, Int64Array
from blitznet.metrics.nanmath import ratio


def confusion_matrix(truth: ClassMap, predicted: ClassMap, annotated: Flags) -> Int64Array:
    """Pixels (C, C) by true (row) and predicted (column) class, background first; void pixels are left out.

    Background in the truth may hide classes that are not annotated. There, pixels predicted as such a class are
    left out too.

    Args:
        truth: (H, W) annotated class map.
        predicted: (H, W) predicted class map.
        annotated: (K,) classes that are annotated in this mask.

    Raises:
        DataError: The sizes differ, or a value is not a class.
    """
    if truth.shape != predicted.shape:
        raise DataError(f"class map: expected {truth.shape} as in the truth, got {predicted.shape}")
    classes = len(annotated) + 1
    counts = np.bincount(truth.ravel().astype(np.intp) * 256 + predicted.ravel(), minlength=256 * 256)
    matrix = counts.reshape(256, 256)[:IGNORE_INDEX]  # drops the row of void pixels
    outside = matrix[classes:].any(), matrix[:, classes:].any()
    if any(outside):
        source = "truth" if outside[0] else "prediction"
        raise DataError(f"class map: expected values 0..{classes - 1}, got larger ones in the {source}")
    matrix = matrix[:classes, :classes].astype(np.int64)
    matrix[0, 1:][~annotated] = 0
    return matrix


def class_iou(confusions: Int64Array | Float64Array) -> Float64Array:
    """IoU (..., C) of confusion matrices (..., C, C); nan for classes that do not occur in the truth."""
    correct = np.diagonal(confusions, axis1=-2, axis2=-1)  # (..., C)
    true, predicted = confusions.sum(-1), confusions.sum(-2)
    return ratio(correct, np.where(true > 0, true + predicted - correct, 0))


def weighted_iou(confusions: Int64Array, weights: Float64Array) -> Float64Array:
    """IoU (R, C) of every class over N images; nan for classes that do not occur in the truth.

    Args:
        confusions: (N, C, C), one matrix for each image.
        weights: (R, N), how often image n is counted in round r; fractions too.
    """
    flat = confusions.reshape(len(confusions), confusions.shape[1] ** 2).astype(np.float64)  # exact below 2**53 pixels
    return class_iou((weights @ flat).reshape(len(weights), *confusions.shape[1:]))
