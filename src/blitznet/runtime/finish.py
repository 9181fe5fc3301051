"""From raw outputs to a Result: what the paper's 3.5 does after the network."""

from functools import partial

import numpy as np

from blitznet.core.anchors import Grid, grids, make_anchors
from blitznet.core.arrays import ClassMap, Floats
from blitznet.core.errors import ModelError
from blitznet.core.result import Outputs, Result
from blitznet.core.spec import Limits, Spec
from blitznet.runtime.detect import detections, nothing
from blitznet.runtime.paint import paint


def finish(
    outputs: Outputs,
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
    limits instead of the contract's. A class map is there if asked for and if the network answers one; it is
    made when it is first looked at.
    """
    boxes, scores, labels = nothing()
    if outputs.offsets is not None and outputs.logits is not None:
        anchors = _anchors(spec, fed or spec.size, count=outputs.logits.shape[1])
        boxes, scores, labels = detections(
            outputs.offsets[index], outputs.logits[index], anchors, spec, limits or spec.limits
        )
    height, width = size
    return Result(
        boxes=boxes * np.asarray((width, height, width, height), np.float32),
        scores=scores,
        labels=labels,
        names=spec.classes,
        size=size,
        painted=_painter(outputs, index, size) if class_map else None,
    )


def _painter(outputs: Outputs, index: int, size: Grid) -> "partial[ClassMap] | None":
    """Makes the class map of one image, holding no more of the batch than it needs."""
    if outputs.class_map is None:
        return None
    logits = outputs.class_map[index]
    return partial(paint, logits if len(outputs.class_map) == 1 else logits.copy(), size)


def _anchors(spec: Spec, fed: Grid, *, count: int) -> Floats:
    anchors = make_anchors(spec.anchors, grids(spec.anchors, fed))
    if len(anchors) != count:
        raise ModelError(
            f"{spec.name}: its contract lays {len(anchors)} anchors over {fed[1]}x{fed[0]} pixels, "
            f"the network answers for {count}; the file and its contract do not belong together"
        )
    return anchors
