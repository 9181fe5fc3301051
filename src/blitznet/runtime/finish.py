"""From raw outputs to a Result: what the paper's 3.5 does after the network."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blitznet.core.anchors import Grid, grids, make_anchors
from blitznet.core.arrays import Floats
from blitznet.core.errors import ModelError
from blitznet.core.result import Detections, Outputs, Result
from blitznet.core.spec import Limits, Spec
from blitznet.runtime.certainty import certainty
from blitznet.runtime.detect import Found, detections, nothing
from blitznet.runtime.finished import chosen, nearest
from blitznet.runtime.paint import paint


def finish(
    given: Outputs | Detections,
    index: int,
    spec: Spec,
    *,
    size: Grid,
    fed: Grid | None = None,
    limits: Limits | None = None,
    class_map: bool = True,
) -> Result:
    """The Result of image `index` of a batch, of raw answers or of those of a file with this step inside.

    size (H, W) of the original photo; fed (h, w) of what the network saw, the contract's size if not given;
    limits instead of the contract's. A class map is there if asked for and if the network answers one; it is
    made when it is first looked at. Raises UsageError for limits that a file with this step inside cannot go
    back to.
    """
    limits = limits or spec.limits
    if isinstance(given, Detections):
        boxes, scores, labels = chosen(given, index, spec, limits)
    else:
        boxes, scores, labels = _detected(given, index, spec, fed or spec.size, limits)
    small = _small(given, index) if class_map else None
    finished = isinstance(given, Detections)
    height, width = size
    return Result(
        boxes=boxes * np.asarray((width, height, width, height), np.float32),
        scores=scores,
        labels=labels,
        names=spec.classes,
        size=size,
        painted=None if small is None else partial(nearest if finished else paint, small, size),
        sure=None if small is None or finished else partial(certainty, small, size, spec.map_temperature),
        leaning=None if finished else small,
    )


def _detected(outputs: Outputs, index: int, spec: Spec, fed: Grid, limits: Limits) -> Found:
    if outputs.offsets is None or outputs.logits is None:
        return nothing()
    anchors = _anchors(spec, fed, count=outputs.logits.shape[1])
    return detections(outputs.offsets[index], outputs.logits[index], anchors, spec, limits)


def _small(given: Outputs | Detections, index: int) -> NDArray[Any] | None:
    """What the class map of one image is made of, holding no more of the batch than it needs."""
    if given.class_map is None:
        return None
    small: NDArray[Any] = given.class_map[index]
    return small if len(given.class_map) == 1 else small.copy()


def _anchors(spec: Spec, fed: Grid, *, count: int) -> Floats:
    anchors = make_anchors(spec.anchors, grids(spec.anchors, fed))
    if len(anchors) != count:
        raise ModelError(
            f"{spec.name}: its contract lays {len(anchors)} anchors over {fed[1]}x{fed[0]} pixels, "
            f"the network answers for {count}; the file and its contract do not belong together"
        )
    return anchors
