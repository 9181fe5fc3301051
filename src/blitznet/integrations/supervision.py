"""Results as supervision's `Detections`, for its annotators, zones and counters."""

import numpy as np
import supervision

from blitznet.postprocess.result import Result


def to_supervision(result: Result, *, masks: bool = False) -> "supervision.Detections":
    """A result as `supervision.Detections`.

    Args:
        result: N detections.
        masks: Whether to set `mask`, the instance masks (N, H, W) bool.

    Returns:
        `xyxy`, `confidence`, `class_id` (0..K-1) and `data["class_name"]`.
    """
    class_names = np.array([result.class_names[label] for label in result.labels], dtype=np.str_)
    instance_masks = None
    if masks:
        instances = result.instances()
        instance_masks = np.zeros((len(result), *result.size), np.bool_)
        for index in range(len(result)):
            instance_masks[index] = instances.mask(index)
    return supervision.Detections(
        xyxy=result.boxes.reshape(-1, 4),
        mask=instance_masks,
        confidence=result.scores,
        class_id=result.labels.astype(np.int64),
        data={"class_name": class_names},
    )
