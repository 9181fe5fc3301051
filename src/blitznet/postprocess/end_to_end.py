"""The answers of a file that has the post-processing inside: nothing is left to find, only to fit."""

import numpy as np
from numpy.typing import NDArray

from blitznet.core.anchors import Grid
from blitznet.core.arrays import ClassMap
from blitznet.core.errors import UsageError
from blitznet.core.outputs import NmsOutputs
from blitznet.core.spec import PostprocessConfig, Spec
from blitznet.postprocess.decode import DetectionArrays


def select_detections(given: NmsOutputs, index: int, spec: Spec, limits: PostprocessConfig) -> DetectionArrays:
    """Boxes (N, 4) as fractions 0..1, scores and labels (N,) of image `index` that are inside `limits`.

    The file has suppressed by the limits of its contract: raises UsageError if others are wanted than a higher
    score or fewer boxes.
    """
    _require_reach(limits, spec)
    there = int(given.count[index])
    passing = np.flatnonzero(given.scores[index, :there] > limits.score_threshold)[: limits.max_detections]
    return given.boxes[index, passing], given.scores[index, passing], given.labels[index, passing]


def resize_nearest(small: ClassMap, size: Grid) -> ClassMap:
    """A class map (h, w) at `size`: each pixel takes the class at its centre."""
    rows, columns = (_centres(outside, inside) for outside, inside in zip(size, small.shape, strict=True))
    return small[rows[:, None], columns]


def _require_reach(limits: PostprocessConfig, spec: Spec) -> None:
    own = spec.postprocess
    inside = (own.topk_candidates, own.nms_threshold, own.max_per_class) == (
        limits.topk_candidates,
        limits.nms_threshold,
        limits.max_per_class,
    )
    if not inside or limits.score_threshold < own.score_threshold or limits.max_detections > own.max_detections:
        raise UsageError(
            f"{spec.name}: its file has suppressed by {own}, expected {limits}; "
            "a higher score or fewer boxes can be had, for the rest export it without --nms"
        )


def _centres(outside: int, inside: int) -> NDArray[np.intp]:
    """The pixel at (i + 0.5) * inside / outside for each i, in whole numbers, which do not round."""
    return (2 * np.arange(outside) + 1) * inside // (2 * outside)
