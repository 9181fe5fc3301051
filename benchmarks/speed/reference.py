"""Straightforward postprocessing, which `postprocess.py` compares blitznet's with: same results, no optimization.

Softmax and decoding of all anchors, a loop over classes, a loop over boxes; all channels upsampled to full size.
"""

from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from blitznet.core.arrays import Boxes, ClassMap, Floats, Labels, Scores, Size
from blitznet.core.boxes import decode
from blitznet.core.spec import PostprocessConfig, Spec

Detections = tuple[Boxes, Scores, Labels]
"""boxes (N, 4) as fractions of the image, scores and labels (N,), best first"""


def with_loops(offsets: Floats, logits: Floats, anchors: Floats, spec: Spec, config: PostprocessConfig) -> Detections:
    """Section 3.5 of the paper in numpy with loops."""
    scores, boxes = _softmax(logits), _decode(offsets, anchors, spec)
    parts = [_one_class(boxes, scores[:, label + 1], label, config) for label in range(len(spec.classes))]
    return _best(parts, config)


def _one_class(boxes: Boxes, scores: Scores, label: int, config: PostprocessConfig) -> Detections:
    candidates = np.flatnonzero(scores > config.score_threshold)
    order = candidates[np.argsort(-scores[candidates], kind="stable")][: config.topk_candidates]
    selected = list[int]()
    while len(order) and len(selected) < config.max_per_class:
        selected.append(order[0])
        order = order[1:][_iou(boxes[order[0]], boxes[order[1:]]) <= config.nms_threshold]
    return boxes[selected], scores[selected], np.full(len(selected), label)


def with_opencv(offsets: Floats, logits: Floats, anchors: Floats, spec: Spec, config: PostprocessConfig) -> Detections:
    """The same with OpenCV's batched NMS, after top-k selection; without it the worst case takes minutes."""
    import cv2  # optional

    boxes, scores = _topk(offsets, logits, anchors, spec, config)
    label, row = np.nonzero(scores > config.score_threshold)
    if not len(row):
        return _best([], config)
    score, box = scores[label, row], boxes[label, row]
    xywh = np.concatenate([box[:, :2], box[:, 2:] - box[:, :2]], 1)
    batched_nms: Any = cv2.dnn.NMSBoxesBatched  # its annotations allow lists only
    selected = np.asarray(
        batched_nms(xywh, score, label.astype(np.int32), config.score_threshold, config.nms_threshold), np.intp
    )
    return _best([(box[selected], score[selected], label[selected])], config)


def with_onnx(offsets: Floats, logits: Floats, anchors: Floats, spec: Spec, config: PostprocessConfig) -> Detections:
    """The same with ONNX's NonMaxSuppression in onnxruntime, after top-k selection."""
    boxes, scores = _topk(offsets, logits, anchors, spec, config)
    [selected] = _nms_session(config).run(None, {"boxes": boxes, "scores": scores[:, None]})
    label, row = selected[:, 0], selected[:, 2]
    return _best([(boxes[label, row], scores[label, row], label)], config)


def _topk(
    offsets: Floats, logits: Floats, anchors: Floats, spec: Spec, config: PostprocessConfig
) -> tuple[Boxes, Floats]:
    """Boxes (K, n, 4) and scores (K, n) of the best candidates of each class, in descending order of score."""
    scores = _softmax(logits)[:, 1:].T  # (K, A)
    order = np.argsort(-scores, axis=1, kind="stable")[:, : config.topk_candidates]
    return _decode(offsets, anchors, spec)[order], np.take_along_axis(scores, order, axis=1)


def upsample_argmax_full(logits: Floats, size: Size) -> ClassMap:
    """Upsample all channels (C, h, w) bilinearly to `size`, then argmax."""
    rows, columns = (_interpolation(inner, outer) for inner, outer in zip(logits.shape[1:], size, strict=True))
    low, high, weight = columns
    stretched = logits[:, :, low] + (logits[:, :, high] - logits[:, :, low]) * weight
    low, high, weight = rows
    full = stretched[:, low] + (stretched[:, high] - stretched[:, low]) * weight[:, None]
    return np.asarray(full.argmax(0), np.uint8)


def _interpolation(source: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """For each target pixel of an axis: both source neighbors, and the weight of the second."""
    position = np.clip((np.arange(target) + 0.5) * (source / target) - 0.5, 0, source - 1)
    low = np.floor(position).astype(np.intp)
    return low, np.minimum(low + 1, source - 1), (position - low).astype(np.float32)


def _softmax(logits: Floats) -> Floats:
    power = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(power / power.sum(1, keepdims=True))


def _decode(offsets: Floats, anchors: Floats, spec: Spec) -> Boxes:
    return np.clip(decode(offsets, anchors, spec.anchors.variances), 0, 1)


def _iou(box: Floats, boxes: Boxes) -> Floats:
    size = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    inter = np.maximum(size, 0).prod(1)
    union = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(1) - inter
    return np.asarray(inter / np.maximum(union, 1e-12))


def _best(parts: list[Detections], config: PostprocessConfig) -> Detections:
    boxes, scores, labels = (np.concatenate(part) for part in zip(*parts, strict=True)) if parts else _empty()
    order = np.argsort(-scores, kind="stable")[: config.max_detections]
    return boxes[order], scores[order], labels[order]


def _empty() -> Detections:
    return np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)


@cache
def _nms_session(config: PostprocessConfig) -> Any:
    """A session with the operator alone."""
    constants = {
        "max_per_class": np.array(config.max_per_class),
        "iou": np.float32(config.nms_threshold),
        "score": np.float32(config.score_threshold),
    }
    node = helper.make_node("NonMaxSuppression", ["boxes", "scores", *constants], ["selected"])
    graph = helper.make_graph(
        [node],
        "nms",
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["K", "n", 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["K", 1, "n"]),
        ],
        [helper.make_tensor_value_info("selected", TensorProto.INT64, ["N", 3])],
        [onnx.numpy_helper.from_array(np.asarray(value).reshape(1), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
