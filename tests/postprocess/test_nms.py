import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from blitznet.core.arrays import Boxes
from blitznet.core.boxes import iou
from blitznet.postprocess.nms import MODEL, batched_nms


def operator_alone() -> onnx.ModelProto:
    """NonMaxSuppression of boxes (G, n, 4) and scores (G, 1, n), of which 0 stands for no box."""
    least = numpy_helper.from_array(np.array([0.5], np.float32), "least")
    node = helper.make_node("NonMaxSuppression", ["boxes", "scores", "keep", "iou", "least"], ["chosen"])
    inputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["G", "n", 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["G", 1, "n"]),
        helper.make_tensor_value_info("keep", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("iou", TensorProto.FLOAT, [1]),
    ]
    outputs = [helper.make_tensor_value_info("chosen", TensorProto.INT64, ["M", 3])]
    graph = helper.make_graph([node], "suppress", inputs, outputs, [least])
    return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])


def test_the_file_is_the_operator_alone() -> None:
    assert onnx.load(MODEL) == operator_alone()


def one_row(boxes: Boxes, limit: float, keep: int) -> list[int]:
    """Greedy suppression as anybody would write it; boxes best first."""
    overlap, kept = iou(boxes, boxes), list[int]()
    for i in range(len(boxes)):
        if len(kept) < keep and all(overlap[j, i] <= limit for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("limit", [0.0, 0.3, 0.45, 1.0])
@pytest.mark.parametrize("keep", [0, 1, 3, 50])
def test_every_group_equals_the_plain_way(limit: float, keep: int) -> None:
    rng = np.random.default_rng(7)
    lengths = [1, 5, 30, 17, 30]
    group = np.repeat([0, 1, 4, 5, 9], lengths)
    corners = rng.random((len(group), 2, 2), np.float32)
    boxes = np.concatenate([corners.min(1), corners.max(1)], -1)  # (N, 4)
    boxes[9:13] = boxes[8]  # the same box again and again
    boxes[20, 2:] = boxes[20, :2]  # boxes without area
    boxes[21] = boxes[20]
    kept = batched_nms(boxes, group, iou_threshold=limit, max_detections=keep)
    for row in np.unique(group):
        assert np.flatnonzero(kept[group == row]).tolist() == one_row(boxes[group == row], limit, keep)


def test_an_overlap_at_the_limit_stays() -> None:
    boxes = np.array([[0, 0, 2, 1], [1, 0, 2, 1], [0, 0, 2, 1]], np.float32)  # IoU 0.5, 1
    assert batched_nms(boxes, np.zeros(3, np.int64), iou_threshold=0.5, max_detections=9).tolist() == [
        True,
        True,
        False,
    ]
    assert batched_nms(boxes, np.zeros(3, np.int64), iou_threshold=0.49, max_detections=9).tolist() == [
        True,
        False,
        False,
    ]


def test_nothing_to_suppress() -> None:
    assert (
        batched_nms(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), iou_threshold=0.5, max_detections=9).tolist()
        == []
    )
