"""Suppression of overlapping boxes, all classes abreast."""

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import Flags, Floats
from blitznet.core.boxes import area


def suppress(boxes: Floats, valid: Flags, *, iou: float, keep: int) -> Flags:
    """Which boxes survive greedy suppression within their own row.

    boxes (R, N, 4) x1 y1 x2 y2, one row for each class, best score first; valid (R, N) bool, False where a
    row is shorter. A box goes when its IoU with a better one that stays is greater than `iou`; at most
    `keep` stay in a row. Gives (R, N) bool. Paper 3.5.

    Every pass settles the best open box of each row, so there are as many passes as the longest row keeps.
    """
    open_ = valid.copy()
    kept = np.zeros_like(valid)
    areas = area(boxes)  # (R, N)
    rows = np.flatnonzero(open_.any(1))
    for _ in range(keep):
        if not len(rows):
            break
        best = open_[rows].argmax(1)
        kept[rows, best] = True
        open_[rows] &= _overlap(boxes, areas, rows, best) <= iou
        open_[rows, best] = False
        rows = rows[open_[rows].any(1)]
    return kept


def _overlap(boxes: Floats, areas: Floats, rows: NDArray[np.intp], best: NDArray[np.intp]) -> Floats:
    """IoU (r, N) of each row's best box with all of its row; 0 where both are empty."""
    one = boxes[rows, best][:, None]  # (r, 1, 4)
    many = boxes[rows]  # (r, N, 4)
    width = np.minimum(one[..., 2], many[..., 2]) - np.maximum(one[..., 0], many[..., 0])
    height = np.minimum(one[..., 3], many[..., 3]) - np.maximum(one[..., 1], many[..., 1])
    inter = np.maximum(width, 0) * np.maximum(height, 0)
    union = areas[rows, best][:, None] + areas[rows] - inter
    return np.asarray(np.divide(inter, union, out=np.zeros_like(inter), where=union > 0), np.float32)
