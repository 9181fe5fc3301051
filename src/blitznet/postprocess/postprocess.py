"""From raw outputs to a Result: what the paper's 3.5 does after the network."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blitznet.core.anchors import Grid, feature_map_sizes, generate_anchors
from blitznet.core.arrays import Floats
from blitznet.core.errors import ModelError
from blitznet.core.outputs import NmsOutputs, Outputs
from blitznet.core.spec import PostprocessConfig, Spec
from blitznet.postprocess.confidence import pixel_confidence
from blitznet.postprocess.decode import DetectionArrays, decode_detections, empty_detections
from blitznet.postprocess.end_to_end import resize_nearest, select_detections
from blitznet.postprocess.result import Result
from blitznet.postprocess.upsample import upsample_argmax


def postprocess(
    outputs: Outputs | NmsOutputs,
    index: int,
    spec: Spec,
    *,
    size: Grid,
    input_size: Grid | None = None,
    config: PostprocessConfig | None = None,
    class_map: bool = True,
) -> Result:
    """The Result of image `index` of a batch, of raw answers or of those of a file with this step inside.

    size (H, W) of the original image; fed (h, w) of what the network saw, the contract's size if not given;
    limits instead of the contract's. A class map is there if asked for and if the network answers one; it is
    made when it is first looked at. Raises UsageError for limits that a file with this step inside cannot go
    back to.
    """
    config = config or spec.postprocess
    if isinstance(outputs, NmsOutputs):
        boxes, scores, labels = select_detections(outputs, index, spec, config)
    else:
        boxes, scores, labels = _detected(outputs, index, spec, input_size or spec.size, config)
    small = _small(outputs, index) if class_map else None
    finished = isinstance(outputs, NmsOutputs)
    height, width = size
    return Result(
        boxes=boxes * np.asarray((width, height, width, height), np.float32),
        scores=scores,
        labels=labels,
        class_names=spec.classes,
        size=size,
        painted=None if small is None else partial(resize_nearest if finished else upsample_argmax, small, size),
        sure=None
        if small is None or finished
        else partial(pixel_confidence, small, size, spec.segmentation_temperature),
        leaning=None if finished else small,
    )


def _detected(outputs: Outputs, index: int, spec: Spec, fed: Grid, limits: PostprocessConfig) -> DetectionArrays:
    if outputs.offsets is None or outputs.logits is None:
        return empty_detections()
    anchors = _anchors(spec, fed, count=outputs.logits.shape[1])
    return decode_detections(outputs.offsets[index], outputs.logits[index], anchors, spec, limits)


def _small(given: Outputs | NmsOutputs, index: int) -> NDArray[Any] | None:
    """What the class map of one image is made of, holding no more of the batch than it needs."""
    maps = given.class_map if isinstance(given, NmsOutputs) else given.segmentation_logits
    if maps is None:
        return None
    small: NDArray[Any] = maps[index]
    return small if len(maps) == 1 else small.copy()


def _anchors(spec: Spec, fed: Grid, *, count: int) -> Floats:
    anchors = generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, fed))
    if len(anchors) != count:
        raise ModelError(
            f"{spec.name}: its contract lays {len(anchors)} anchors over {fed[1]}x{fed[0]} pixels, "
            f"the network answers for {count}; the file and its contract do not belong together"
        )
    return anchors
