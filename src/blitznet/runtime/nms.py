"""Suppression of overlapping boxes, all classes abreast."""

import numpy as np

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
    place, sides = np.arange(len(boxes)), _sides(boxes)
    for _ in range(keep):
        if not len(place):
            break
        starts = np.flatnonzero(group[1:] != group[:-1]) + 1
        first = np.concatenate([[0], starts])  # the best open box of each group
        kept[place[first]] = True
        best = sides.take(first, 1).repeat(np.concatenate([starts, [len(place)]]) - first, 1)
        open_ = _overlap(sides, best) <= iou
        open_[first] = False
        left = np.flatnonzero(open_)
        place, group, sides = place[left], group[left], sides.take(left, 1)
    return kept


def _sides(boxes: Boxes) -> Floats:
    """Rows x1, y1, -x2, -y2, area (5, N): the larger of two is a side of what they share, for all four alike."""
    corners = boxes.T
    return np.concatenate([corners[:2], -corners[2:], area(boxes)[None]])


def _overlap(one: Floats, other: Floats) -> Floats:
    """IoU (N,) of boxes by their sides (5, N), each with the other of its column; 0 where both are empty."""
    shared = np.maximum(one[:4], other[:4])
    less = shared[:2] + shared[2:]  # (2, N) width and height, below 0 where there are any
    np.minimum(less, 0, out=less)
    inter: Floats = less[0] * less[1]
    union = one[4] + other[4]
    union -= inter
    np.divide(inter, union, out=inter, where=union > 0)  # without a union there is no intersection: 0
    return inter
