"""The Result behind whatever an engine answers: raw answers are finished, those of a finished file only fitted."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from blitznet.core.anchors import Grid
from blitznet.core.arrays import ClassMap
from blitznet.core.errors import UsageError
from blitznet.core.result import Detections, Outputs, Result
from blitznet.core.spec import Limits, Spec
from blitznet.runtime.finish import finish


def to_result(
    given: Outputs | Detections,
    index: int,
    spec: Spec,
    *,
    size: Grid,
    fed: Grid | None = None,
    limits: Limits | None = None,
    class_map: bool = True,
) -> Result:
    """The Result of image `index` of a batch.

    size (H, W) of the original photo; fed (h, w) of what the network saw, the contract's size if not given;
    limits instead of the contract's. A file with the post-processing inside has suppressed by those of its
    contract: raises UsageError if others are wanted than a higher score or fewer boxes. Its class map is brought
    to the photo's size by nearest pixels.
    """
    limits = limits or spec.limits
    if isinstance(given, Outputs):
        return finish(given, index, spec, size=size, fed=fed, limits=limits, class_map=class_map)
    _require_reach(limits, spec)
    there = int(given.count[index])
    passing = np.flatnonzero(given.scores[index, :there] > limits.score)[: limits.per_image]
    height, width = size
    return Result(
        boxes=given.boxes[index, passing] * np.asarray((width, height, width, height), np.float32),
        scores=given.scores[index, passing],
        labels=given.labels[index, passing],
        names=spec.classes,
        size=size,
        painted=_painter(given, index, size) if class_map else None,
    )


def _require_reach(limits: Limits, spec: Spec) -> None:
    own = spec.limits
    inside = (own.candidates, own.iou, own.per_class) == (limits.candidates, limits.iou, limits.per_class)
    if not inside or limits.score < own.score or limits.per_image > own.per_image:
        raise UsageError(
            f"{spec.name}: its file has suppressed by {own}, wanted {limits}; "
            "a higher score or fewer boxes can be had, for the rest export it without --nms"
        )


def _painter(given: Detections, index: int, size: Grid) -> "partial[ClassMap] | None":
    if given.class_map is None:
        return None
    return partial(_nearest, given.class_map[index].copy(), size)


def _nearest(small: ClassMap, size: Grid) -> ClassMap:
    """A class map (h, w) at `size`: each pixel takes the class at its centre."""
    rows, columns = (_centres(outside, inside) for outside, inside in zip(size, small.shape, strict=True))
    return small[rows[:, None], columns]


def _centres(outside: int, inside: int) -> NDArray[np.intp]:
    """The pixel at (i + 0.5) * inside / outside for each i, in whole numbers, which do not round."""
    return (2 * np.arange(outside) + 1) * inside // (2 * outside)
