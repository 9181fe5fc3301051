"""From the outputs of an engine to a Result (paper 3.5)."""

from functools import partial

import numpy as np

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.arrays import Floats, Size
from blitznet.core.errors import ModelError
from blitznet.core.image import ImageSource
from blitznet.core.outputs import NmsOutputs, Outputs
from blitznet.core.spec import PostprocessConfig, Spec
from blitznet.postprocess.decode import decode_detections, empty_detections
from blitznet.postprocess.end_to_end import resize_nearest, select_detections
from blitznet.postprocess.nms import DetectionArrays
from blitznet.postprocess.result import Result, Segmentation


def postprocess(
    outputs: Outputs | NmsOutputs,
    index: int,
    spec: Spec,
    *,
    size: Size,
    input_size: Size | None = None,
    config: PostprocessConfig | None = None,
    class_map: bool = True,
    image: ImageSource | None = None,
) -> Result:
    """Turn the outputs for one image of a batch into a Result.

    Args:
        outputs: Raw outputs, or those of a model file with NMS inside.
        index: Index of the image in the batch.
        spec: The model's metadata.
        size: (H, W) of the original image, pixels.
        input_size: (h, w) of the network's input. Default: the spec's.
        config: Thresholds. Default: the spec's.
        class_map: Whether the result has a segmentation, if the model has that head. It is computed on first access.
        image: The image, kept in the result for `Result.save`.

    Raises:
        UsageError: A model with NMS inside cannot apply these thresholds.
        ModelError: The outputs do not fit the spec's anchors.
    """
    config = config or spec.postprocess
    if isinstance(outputs, NmsOutputs):
        boxes, scores, labels = select_detections(outputs, index, spec, config)
    else:
        boxes, scores, labels = _decode(outputs, index, spec, input_size or spec.size, config)
    height, width = size
    return Result(
        boxes=boxes * np.asarray((width, height, width, height), np.float32),
        scores=scores,
        labels=labels,
        class_names=spec.classes,
        size=size,
        segmentation=_segmentation(outputs, index, spec, size) if class_map else None,
        image=image,
    )


def _decode(outputs: Outputs, index: int, spec: Spec, input_size: Size, config: PostprocessConfig) -> DetectionArrays:
    if outputs.offsets is None or outputs.logits is None:
        return empty_detections()
    anchors = _anchors(spec, input_size, count=outputs.logits.shape[1])
    return decode_detections(outputs.offsets[index], outputs.logits[index], anchors, spec, config)


def _segmentation(outputs: Outputs | NmsOutputs, index: int, spec: Spec, size: Size) -> Segmentation | None:
    """The segmentation of one image; its array is copied out of a batch, so that the batch can be freed."""
    if isinstance(outputs, NmsOutputs):
        if outputs.class_map is None:
            return None
        class_map = outputs.class_map[index]
        class_map = class_map if len(outputs.class_map) == 1 else class_map.copy()
        return Segmentation(size, partial(resize_nearest, class_map, size))
    if outputs.segmentation_logits is None:
        return None
    logits = outputs.segmentation_logits[index]
    logits = logits if len(outputs.segmentation_logits) == 1 else logits.copy()
    return Segmentation.from_logits(logits, size, spec.segmentation_temperature)


def _anchors(spec: Spec, input_size: Size, *, count: int) -> Floats:
    anchors = generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, input_size))
    if len(anchors) != count:
        raise ModelError(
            f"{spec.name}: expected outputs for {len(anchors)} anchors of a {input_size[1]}x{input_size[0]} input, "
            f"got {count}; the spec in the file is that of another network; export the model again"
        )
    return anchors
