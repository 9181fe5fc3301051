"""Outputs of a model file with NMS inside: select by score, resize the class map."""

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import ClassMap, Size
from blitznet.core.errors import UsageError
from blitznet.core.outputs import NmsOutputs
from blitznet.core.spec import PostprocessConfig, Spec
from blitznet.postprocess.nms import DetectionArrays


def select_detections(outputs: NmsOutputs, index: int, spec: Spec, config: PostprocessConfig) -> DetectionArrays:
    """The detections of one image that pass the thresholds.

    Args:
        outputs: Outputs for a batch.
        index: Index of the image in the batch.
        spec: The model's metadata, with the thresholds that its NMS used.
        config: Thresholds. Only a higher score threshold and fewer detections than the spec's are possible.

    Returns:
        Boxes (N, 4) as fractions 0..1, scores (N,), labels (N,).

    Raises:
        UsageError: The config differs from the spec in another way.
    """
    _require_compatible(config, spec)
    count = int(outputs.count[index])
    rows = np.flatnonzero(outputs.scores[index, :count] > config.score_threshold)[: config.max_detections]
    return outputs.boxes[index, rows], outputs.scores[index, rows], outputs.labels[index, rows]


def resize_nearest(class_map: ClassMap, size: Size) -> ClassMap:
    """Resize a class map (h, w) to (H, W) by nearest neighbor, with half-pixel centers."""
    rows, columns = (_nearest_indices(source, output) for source, output in zip(class_map.shape, size, strict=True))
    return class_map[rows[:, None], columns]


def _require_compatible(config: PostprocessConfig, spec: Spec) -> None:
    own = spec.postprocess
    same_nms = (own.topk_candidates, own.nms_threshold, own.max_per_class) == (
        config.topk_candidates,
        config.nms_threshold,
        config.max_per_class,
    )
    if not same_nms or config.score_threshold < own.score_threshold or config.max_detections > own.max_detections:
        raise UsageError(
            f"{spec.name}: expected the thresholds of the NMS inside this file, {own}, got {config}; only "
            "score_threshold may be higher and max_detections lower; for other changes export it without --nms"
        )


def _nearest_indices(source: int, output: int) -> NDArray[np.intp]:
    """floor((i + 0.5) * source / output) for each output pixel i, in integers to avoid rounding."""
    return (2 * np.arange(output) + 1) * source // (2 * output)
