"""The answers of a file that has the post-processing inside: nothing is left to find, only to fit."""

import numpy as np
from numpy.typing import NDArray

from blitznet.core.anchors import Grid
from blitznet.core.arrays import ClassMap
from blitznet.core.errors import UsageError
from blitznet.core.result import Detections
from blitznet.core.spec import Limits, Spec
from blitznet.runtime.detect import Found


def chosen(given: Detections, index: int, spec: Spec, limits: Limits) -> Found:
    """Boxes (N, 4) as fractions 0..1, scores and labels (N,) of image `index` that are inside `limits`.

    The file has suppressed by the limits of its contract: raises UsageError if others are wanted than a higher
    score or fewer boxes.
    """
    _require_reach(limits, spec)
    there = int(given.count[index])
    passing = np.flatnonzero(given.scores[index, :there] > limits.score)[: limits.per_image]
    return given.boxes[index, passing], given.scores[index, passing], given.labels[index, passing]


def nearest(small: ClassMap, size: Grid) -> ClassMap:
    """A class map (h, w) at `size`: each pixel takes the class at its centre."""
    rows, columns = (_centres(outside, inside) for outside, inside in zip(size, small.shape, strict=True))
    return small[rows[:, None], columns]


def _require_reach(limits: Limits, spec: Spec) -> None:
    own = spec.limits
    inside = (own.candidates, own.iou, own.per_class) == (limits.candidates, limits.iou, limits.per_class)
    if not inside or limits.score < own.score or limits.per_image > own.per_image:
        raise UsageError(
            f"{spec.name}: its file has suppressed by {own}, wanted {limits}; "
            "a higher score or fewer boxes can be had, for the rest export it without --nms"
        )


def _centres(outside: int, inside: int) -> NDArray[np.intp]:
    """The pixel at (i + 0.5) * inside / outside for each i, in whole numbers, which do not round."""
    return (2 * np.arange(outside) + 1) * inside // (2 * outside)
