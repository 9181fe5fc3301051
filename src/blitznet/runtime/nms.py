"""Suppression of overlapping boxes, all classes abreast."""

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import Boxes, Flags, Floats, Labels
from blitznet.core.boxes import area


def suppress(boxes: Boxes, group: Labels, *, iou: float, keep: int) -> Flags:
    """Which boxes survive greedy suppression within their own group.

    boxes (N, 4) x1 y1 x2 y2; group (N,) rising, one number for each class, best score first within a group.
    A box goes when its IoU with a better one of its group that stays is greater than `iou`; at most `keep`
    stay in a group. Gives (N,) bool. Paper 3.5.

    Every pass settles the best open box of each group and forgets what it settled, so there are as many
    passes as the group that keeps most, each over what is still open.
    """
    kept = np.zeros(len(boxes), np.bool_)
    place, corners, areas = np.arange(len(boxes)), boxes.T.copy(), area(boxes)
    for _ in range(keep):
        if not len(place):
            break
        starts = np.ones(len(group), np.bool_)
        np.not_equal(group[1:], group[:-1], out=starts[1:])
        first = np.flatnonzero(starts)  # the best open box of each group
        kept[place[first]] = True
        best = first[starts.cumsum() - 1]  # for each box, that of its own group
        open_ = _overlap(corners, areas, best) <= iou
        open_[first] = False
        left = np.flatnonzero(open_)
        place, group, corners, areas = place[left], group[left], corners.take(left, 1), areas[left]
    return kept


def _overlap(corners: Floats, areas: Floats, other: NDArray[np.intp]) -> Floats:
    """IoU (N,) of boxes, by corners (4, N) and areas (N,), each with one `other` of them; 0 where both are empty."""
    x1, y1, x2, y2 = corners
    inter: Floats = np.minimum(x2, x2[other])
    inter -= np.maximum(x1, x1[other])
    height = np.minimum(y2, y2[other])
    height -= np.maximum(y1, y1[other])
    np.maximum(inter, 0, out=inter)
    inter *= np.maximum(height, 0, out=height)
    union = areas + areas[other]
    union -= inter
    np.divide(inter, union, out=inter, where=union > 0)  # without a union there is no intersection: 0
    return inter
