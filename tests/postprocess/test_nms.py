import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from blitznet.core.arrays import Boxes
from blitznet.core.boxes import iou
from blitznet.core.spec import PostprocessConfig
from blitznet.postprocess.nms import MODEL, batched_nms, nms_top_k


def build_model() -> onnx.ModelProto:
    """NonMaxSuppression of boxes (G, n, 4) and scores (G, 1, n), where a score of 0 is padding."""
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


def test_model_file_contains_the_operator_alone() -> None:
    assert onnx.load(MODEL) == build_model()


def greedy_nms(boxes: Boxes, threshold: float, max_detections: int) -> list[int]:
    """Plain greedy NMS; boxes in descending order of scores."""
    overlap, keep = iou(boxes, boxes), list[int]()
    for i in range(len(boxes)):
        if len(keep) < max_detections and all(overlap[j, i] <= threshold for j in keep):
            keep.append(i)
    return keep


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.45, 1.0])
@pytest.mark.parametrize("max_detections", [0, 1, 3, 50])
def test_each_class_equals_plain_nms(threshold: float, max_detections: int) -> None:
    rng = np.random.default_rng(7)
    lengths = [1, 5, 30, 17, 30]
    labels = np.repeat([0, 1, 4, 5, 9], lengths)
    corners = rng.random((len(labels), 2, 2), np.float32)
    boxes = np.concatenate([corners.min(1), corners.max(1)], -1)  # (N, 4)
    boxes[9:13] = boxes[8]  # duplicates
    boxes[20, 2:] = boxes[20, :2]  # boxes without an area
    boxes[21] = boxes[20]
    keep = batched_nms(boxes, labels, iou_threshold=threshold, max_detections=max_detections)
    for label in np.unique(labels):
        expected = greedy_nms(boxes[labels == label], threshold, max_detections)
        assert np.flatnonzero(keep[labels == label]).tolist() == expected


def test_boxes_with_an_iou_at_the_threshold_are_kept() -> None:
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


def test_nms_of_no_boxes() -> None:
    assert (
        batched_nms(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), iou_threshold=0.5, max_detections=9).tolist()
        == []
    )


def test_nms_top_k_keeps_the_best_of_all_classes() -> None:
    boxes = np.array([[0, 0, 2, 1], [0, 0, 2, 1.01], [5, 5, 9, 9], [0, 0, 2, 1], [7, 7, 8, 8]], np.float32)
    scores, labels = np.array([0.9, 0.8, 0.3, 0.95, 0.9], np.float32), np.array([0, 0, 0, 1, 1])
    config = PostprocessConfig(max_detections=3)
    best, best_scores, best_labels = nms_top_k(boxes, scores, labels, config)
    assert best_scores.tolist() == scores[[3, 0, 4]].tolist()
    assert best_labels.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(best, boxes[[3, 0, 4]])
