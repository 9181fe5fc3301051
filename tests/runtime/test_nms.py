import numpy as np
import pytest

from blitznet.core.arrays import Boxes
from blitznet.core.boxes import iou
from blitznet.runtime.nms import suppress


def one_row(boxes: Boxes, limit: float, keep: int) -> list[int]:
    """Greedy suppression as anybody would write it; boxes best first."""
    overlap, kept = iou(boxes, boxes), list[int]()
    for i in range(len(boxes)):
        if len(kept) < keep and all(overlap[j, i] <= limit for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("limit", [0.0, 0.3, 0.45, 1.0])
@pytest.mark.parametrize("keep", [0, 1, 3, 50])
def test_every_row_equals_the_plain_way(limit: float, keep: int) -> None:
    rng = np.random.default_rng(7)
    corners = rng.random((6, 30, 2, 2), np.float32)
    boxes = np.concatenate([corners.min(2), corners.max(2)], -1)  # (R, N, 4)
    boxes[:, 3] = boxes[:, 2]  # the same box twice
    boxes[:, 5, 2:] = boxes[:, 5, :2]  # a box without area
    lengths = [0, 1, 5, 30, 17, 30]
    valid = np.arange(30) < np.array(lengths)[:, None]
    kept = suppress(boxes, valid, iou=limit, keep=keep)
    for row, length in enumerate(lengths):
        assert np.flatnonzero(kept[row]).tolist() == one_row(boxes[row, :length], limit, keep)


def test_an_overlap_at_the_limit_stays() -> None:
    boxes = np.array([[[0, 0, 2, 1], [1, 0, 2, 1], [0, 0, 2, 1]]], np.float32)  # IoU 0.5, 1
    valid = np.ones((1, 3), np.bool_)
    assert suppress(boxes, valid, iou=0.5, keep=9).tolist() == [[True, True, False]]
    assert suppress(boxes, valid, iou=0.49, keep=9).tolist() == [[True, False, False]]
