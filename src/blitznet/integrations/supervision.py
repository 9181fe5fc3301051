"""A Result as supervision's `Detections`, for its annotators, zones and counters (supervision is MIT licensed)."""

import numpy as np
import supervision

from blitznet.postprocess.result import Result


def to_supervision(result: Result, *, masks: bool = False) -> "supervision.Detections":
    """Boxes, scores, class ids (0..K-1) and names of a result; with `masks` also the pixels of each, (N, H, W) bool."""
    names = np.array([result.class_names[label] for label in result.labels], dtype=np.str_)
    pixels = None
    if masks:
        found = result.instances()
        pixels = np.zeros((len(result), *result.size), np.bool_)
        for index in range(len(result)):
            pixels[index] = found.mask(index)
    return supervision.Detections(
        xyxy=result.boxes.reshape(-1, 4),
        mask=pixels,
        confidence=result.scores,
        class_id=result.labels.astype(np.int64),
        data={"class_name": names},
    )
