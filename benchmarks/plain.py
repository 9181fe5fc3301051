"""Post-processing as anybody would write it first: what finish.py times ours against, and must equal.

Softmax and decoding of everything, a loop over classes and a loop over boxes; all channels at full size.
"""

from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from blitznet.core.anchors import Grid
from blitznet.core.arrays import Boxes, ClassMap, Floats, Labels, Scores
from blitznet.core.boxes import decode
from blitznet.core.spec import PostprocessConfig, Spec

Found = tuple[Boxes, Scores, Labels]
"""boxes (N, 4) as fractions, scores and labels (N,), best first"""


def plain(offsets: Floats, logits: Floats, anchors: Floats, spec: Spec, limits: PostprocessConfig) -> Found:
    """The paper's 3.5 in numpy with loops."""
    scores, boxes = _softmax(logits), _decode(offsets, anchors, spec)
    parts = [_one_class(boxes, scores[:, label + 1], label, limits) for label in range(len(spec.classes))]
    return _best(parts, limits)


def _one_class(boxes: Boxes, scores: Scores, label: int, limits: PostprocessConfig) -> Found:
    passing = np.flatnonzero(scores > limits.score_threshold)
    order = passing[np.argsort(-scores[passing], kind="stable")][: limits.topk_candidates]
    kept = list[int]()
    while len(order) and len(kept) < limits.max_per_class:
        kept.append(order[0])
        order = order[1:][_iou(boxes[order[0]], boxes[order[1:]]) <= limits.nms_threshold]
    return boxes[kept], scores[kept], np.full(len(kept), label)


def with_opencv(offsets: Floats, logits: Floats, anchors: Floats, spec: Spec, limits: PostprocessConfig) -> Found:
    """The same with OpenCV's batched suppression; without the cut before it, it takes minutes in the worst case."""
    import cv2  # only who times this way needs it

    boxes, scores = _cut(offsets, logits, anchors, spec, limits)
    label, row = np.nonzero(scores > limits.score_threshold)
    if not len(row):
        return _best([], limits)
    score, box = scores[label, row], boxes[label, row]
    sides = np.concatenate([box[:, :2], box[:, 2:] - box[:, :2]], 1)
    suppress: Any = cv2.dnn.NMSBoxesBatched  # its annotations know lists only
    kept = np.asarray(
        suppress(sides, score, label.astype(np.int32), limits.score_threshold, limits.nms_threshold), np.intp
    )
    return _best([(box[kept], score[kept], label[kept])], limits)


def with_onnx(offsets: Floats, logits: Floats, anchors: Floats, spec: Spec, limits: PostprocessConfig) -> Found:
    """The same with ONNX's NonMaxSuppression in onnxruntime, after the same cut."""
    boxes, scores = _cut(offsets, logits, anchors, spec, limits)
    [chosen] = _suppression(limits).run(None, {"boxes": boxes, "scores": scores[:, None]})
    label, row = chosen[:, 0], chosen[:, 2]
    return _best([(boxes[label, row], scores[label, row], label)], limits)


def _cut(
    offsets: Floats, logits: Floats, anchors: Floats, spec: Spec, limits: PostprocessConfig
) -> tuple[Boxes, Floats]:
    """Boxes (K, n, 4) and scores (K, n) of each class's best candidates, by falling score."""
    scores = _softmax(logits)[:, 1:].T  # (K, A)
    order = np.argsort(-scores, axis=1, kind="stable")[:, : limits.topk_candidates]
    return _decode(offsets, anchors, spec)[order], np.take_along_axis(scores, order, axis=1)


def plain_paint(logits: Floats, size: Grid) -> ClassMap:
    """All channels (C, h, w) bilinearly to `size`, then the best one."""
    rows, columns = (_between(inside, outside) for inside, outside in zip(logits.shape[1:], size, strict=True))
    low, high, share = columns
    wide = logits[:, :, low] + (logits[:, :, high] - logits[:, :, low]) * share
    low, high, share = rows
    full = wide[:, low] + (wide[:, high] - wide[:, low]) * share[:, None]
    return np.asarray(full.argmax(0), np.uint8)


def _between(inside: int, outside: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    place = np.clip((np.arange(outside) + 0.5) * (inside / outside) - 0.5, 0, inside - 1)
    low = np.floor(place).astype(np.intp)
    return low, np.minimum(low + 1, inside - 1), (place - low).astype(np.float32)


def _softmax(logits: Floats) -> Floats:
    power = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(power / power.sum(1, keepdims=True))


def _decode(offsets: Floats, anchors: Floats, spec: Spec) -> Boxes:
    return np.clip(decode(offsets, anchors, spec.anchors.variances), 0, 1)


def _iou(one: Floats, many: Boxes) -> Floats:
    sides = np.minimum(one[2:], many[:, 2:]) - np.maximum(one[:2], many[:, :2])
    inter = np.maximum(sides, 0).prod(1)
    union = (one[2:] - one[:2]).prod() + (many[:, 2:] - many[:, :2]).prod(1) - inter
    return np.asarray(inter / np.maximum(union, 1e-12))


def _best(parts: list[Found], limits: PostprocessConfig) -> Found:
    boxes, scores, labels = (np.concatenate(part) for part in zip(*parts, strict=True)) if parts else _nothing()
    order = np.argsort(-scores, kind="stable")[: limits.max_detections]
    return boxes[order], scores[order], labels[order]


def _nothing() -> Found:
    return np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)


@cache
def _suppression(limits: PostprocessConfig) -> Any:
    """A session with the operator alone."""
    constants = {
        "most": np.array(limits.max_per_class),
        "iou": np.float32(limits.nms_threshold),
        "score": np.float32(limits.score_threshold),
    }
    node = helper.make_node("NonMaxSuppression", ["boxes", "scores", *constants], ["chosen"])
    graph = helper.make_graph(
        [node],
        "suppression",
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["K", "n", 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["K", 1, "n"]),
        ],
        [helper.make_tensor_value_info("chosen", TensorProto.INT64, ["N", 3])],
        [onnx.numpy_helper.from_array(np.asarray(value).reshape(1), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
