import numpy as np
import pytest

from blitznet.core.arrays import Boxes
from blitznet.core.boxes import area, cxcywh_to_xyxy, decode, encode, intersection, iou, xyxy_to_cxcywh

VARIANCES = (0.1, 0.1, 0.2, 0.2)
ANCHOR = np.array([[0.5, 0.5, 0.2, 0.4]], np.float32)


def boxes(*rows: tuple[float, float, float, float]) -> Boxes:
    return np.asarray(rows, np.float32).reshape(-1, 4)


def loop_iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inter = width * height if width > 0 and height > 0 else 0.0
    union = sum(max(x2 - x1, 0) * max(y2 - y1, 0) for x1, y1, x2, y2 in (a, b)) - inter
    return inter / union if union > 0 else 0.0


def test_encode_computed_by_hand() -> None:
    box = cxcywh_to_xyxy(np.array([[0.55, 0.45, 0.25, 0.3]], np.float32))
    assert encode(box, ANCHOR, VARIANCES)[0] == pytest.approx((2.5, -1.25, 1.115718, -1.438410), abs=1e-5)


def test_encode_of_the_anchor_is_zero() -> None:
    assert encode(cxcywh_to_xyxy(ANCHOR), ANCHOR, VARIANCES)[0] == pytest.approx((0, 0, 0, 0), abs=1e-5)


def test_decode_computed_by_hand() -> None:
    decoded = decode(np.array([[1, -2, 0.5, -1]], np.float32), ANCHOR, VARIANCES)
    assert xyxy_to_cxcywh(decoded)[0] == pytest.approx((0.52, 0.42, 0.221034, 0.327492), abs=1e-6)
    assert decoded[0] == pytest.approx((0.409483, 0.256254, 0.630517, 0.583746), abs=1e-6)


def test_decode_does_not_clip() -> None:
    corner = np.array([[0.006667, 0.006667, 0.04, 0.04]], np.float32)
    decoded = decode(np.zeros((1, 4), np.float32), corner, VARIANCES)
    assert decoded[0] == pytest.approx((-0.013333, -0.013333, 0.026667, 0.026667), abs=1e-6)


def test_decode_inverts_encode() -> None:
    rng = np.random.default_rng(0)
    corner = rng.uniform(-0.2, 0.9, (500, 2))
    truth = np.concatenate([corner, corner + rng.uniform(0.005, 1.2, (500, 2))], 1).astype(np.float32)
    anchors = rng.uniform(0.02, 1, (500, 4)).astype(np.float32)
    np.testing.assert_allclose(decode(encode(truth, anchors, VARIANCES), anchors, VARIANCES), truth, atol=2e-5)


def test_decode_of_a_batch() -> None:
    rng = np.random.default_rng(0)
    anchors = rng.uniform(0.1, 0.9, (7, 4)).astype(np.float32)
    offsets = rng.normal(size=(3, 7, 4)).astype(np.float32)
    decoded = decode(offsets, anchors, VARIANCES)
    assert decoded.shape == (3, 7, 4)
    np.testing.assert_array_equal(decoded[1], decode(offsets[1], anchors, VARIANCES))
    assert decoded.dtype == np.float32


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1.0),
        ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7),
        ((0, 0, 2, 2), (2, 0, 4, 2), 0.0),  # touching
        ((0, 0, 4, 4), (1, 1, 3, 3), 0.25),
        ((1, 1, 1, 1), (1, 1, 1, 1), 0.0),  # both empty
        ((3, 3, 1, 1), (0, 0, 4, 4), 0.0),  # inverted
        ((-2, -2, 0.5, 0.5), (0, 0, 1, 1), 0.25 / 7),
    ],
)
def test_iou(a: tuple[float, ...], b: tuple[float, ...], expected: float) -> None:
    ious = iou(np.asarray([a], np.float32), np.asarray([b], np.float32))
    assert ious[0, 0] == pytest.approx(expected, abs=1e-6)
    assert loop_iou(a, b) == pytest.approx(expected)


def test_iou_of_pairs_equals_a_loop() -> None:
    rng = np.random.default_rng(1)
    corner = rng.uniform(-1, 1, (9, 2))
    many = np.concatenate([corner, corner + rng.uniform(-0.2, 1, (9, 2))], 1).astype(np.float32)
    few = many[:4] + np.float32(0.05)
    expected = [[loop_iou(tuple(map(float, a)), tuple(map(float, b))) for b in few] for a in many]
    np.testing.assert_allclose(iou(many, few), expected, atol=1e-6)
    assert intersection(many, few).shape == (9, 4)
    assert iou(many, few[:0]).shape == (9, 0)


def test_area() -> None:
    assert area(boxes((0, 0, 2, 3), (2, 2, 1, 5), (-1, -1, 1, 1))).tolist() == [6, 0, 4]


def test_cxcywh_to_xyxy_inverts_xyxy_to_cxcywh() -> None:
    xyxy = boxes((0, 0, 2, 3), (-1, 0.5, 4, 2))
    assert xyxy_to_cxcywh(xyxy).tolist() == [[1, 1.5, 2, 3], [1.5, 1.25, 5, 1.5]]
    np.testing.assert_array_equal(cxcywh_to_xyxy(xyxy_to_cxcywh(xyxy)), xyxy)
