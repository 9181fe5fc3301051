"""Mean intersection over union of class maps, at the original's full resolution."""

import numpy as np

from blitznet.core.arrays import IGNORE_INDEX, ClassMap, Flags
from blitznet.core.errors import DataError
from blitznet.metrics.matching import Numbers, Reals
from blitznet.metrics.nanmath import mean, ratio


def confusion(truth: ClassMap, predicted: ClassMap, known: Flags) -> Numbers:
    """Pixels (C, C) by true (row) and predicted (column) class; void pixels are left out.

    `known` (K,) are the classes annotated in this mask. Where the truth says background, a class that was not
    annotated may hide: pixels predicted as such a class are left out there, instead of being called wrong.
    """
    if truth.shape != predicted.shape:
        raise DataError(f"class map: expected {truth.shape} as in the truth, got {predicted.shape}")
    classes = len(known) + 1
    counts = np.bincount(truth.ravel().astype(np.intp) * 256 + predicted.ravel(), minlength=256 * 256)
    table = counts.reshape(256, 256)[:IGNORE_INDEX]  # whatever is predicted on void is dropped with its row
    outside = table[classes:].any(), table[:, classes:].any()
    if any(outside):
        whose = "truth" if outside[0] else "prediction"
        raise DataError(f"class map: expected values 0..{classes - 1}, got larger ones in the {whose}")
    table = table[:classes, :classes].astype(np.int64)
    table[0, 1:][~known] = 0
    return table


def class_iou(tables: Numbers) -> Reals:
    """IoU (..., C) from confusion tables (..., C, C); nan for a class that does not occur in the truth."""
    right = np.diagonal(tables, axis1=-2, axis2=-1)  # (..., C)
    true, predicted = tables.sum(-1), tables.sum(-2)
    return ratio(right, np.where(true > 0, true + predicted - right, 0))


def mean_iou(tables: Numbers, weights: Numbers) -> Reals:
    """Mean (R,) over the classes that occur in the truth, background included.

    `tables` (N, C, C) of single images, image n taken weights[r, n] times; weights (R, N). Nan without any pixel.
    """
    flat = tables.reshape(len(tables), tables.shape[1] ** 2).astype(np.float64)  # exact: fewer pixels than 2**53
    summed = (weights.astype(np.float64) @ flat).round().astype(np.int64)  # (R, C * C)
    return mean(class_iou(summed.reshape(len(weights), *tables.shape[1:])))
