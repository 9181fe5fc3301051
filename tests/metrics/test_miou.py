import numpy as np
import pytest

from blitznet.core.errors import DataError
from blitznet.metrics.arrays import Float64Array, Int64Array
from blitznet.metrics.bootstrap import unit_weights
from blitznet.metrics.miou import class_iou, confusion_matrix, weighted_iou
from blitznet.metrics.nanmath import mean

ALL = np.array([True, True])


def mean_iou(confusions: Int64Array, weights: Float64Array) -> Float64Array:
    return mean(weighted_iou(confusions, weights))


def test_mean_iou_of_two_classes_computed_by_hand() -> None:
    """3 of 5 pixels of each union are correct."""
    assert mean_iou(np.array([[[3, 1], [1, 3]]]), unit_weights(1))[0] == pytest.approx(0.6)


def test_iou_counted_by_hand() -> None:
    truth = np.array([[0, 0, 1, 1, 255]], np.uint8)
    predicted = np.array([[0, 1, 1, 2, 1]], np.uint8)
    matrix = confusion_matrix(truth, predicted, ALL)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert class_iou(matrix)[:2].tolist() == [1 / 2, 1 / 3]
    assert mean_iou(matrix[None], unit_weights(1))[0] == pytest.approx(5 / 12)  # class 2 is not in the truth


def test_confusion_matrix_equals_a_loop_over_pixels() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice([0, 1, 2, 255], (9, 7)).astype(np.uint8)
    predicted = rng.integers(0, 3, (9, 7)).astype(np.uint8)
    slow = np.zeros((3, 3), np.int64)
    for true_class, predicted_class in zip(truth.ravel(), predicted.ravel(), strict=True):
        if true_class != 255:
            slow[true_class, predicted_class] += 1
    assert confusion_matrix(truth, predicted, ALL).tolist() == slow.tolist()


def test_classes_without_annotation_are_left_out_on_background() -> None:
    truth = np.array([[0, 0, 0, 1]], np.uint8)
    predicted = np.array([[0, 1, 2, 2]], np.uint8)
    annotated = np.array([True, False])
    assert confusion_matrix(truth, predicted, annotated).tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_mean_iou_sums_images_before_the_ratio() -> None:
    confusions = np.array([[[8, 0], [0, 0]], [[0, 0], [4, 4]]])
    assert mean_iou(confusions, unit_weights(2))[0] == pytest.approx((8 / 12 + 4 / 8) / 2)


def test_weights_repeat_images() -> None:
    confusions = np.random.default_rng(1).integers(0, 9, (4, 3, 3))
    weights = np.array([[2.0, 0.0, 1.0, 1.0], [0.0, 0.0, 3.0, 1.0]])
    repeated = [mean_iou(confusions.repeat(row.astype(int), 0), unit_weights(4))[0] for row in weights]
    assert mean_iou(confusions, weights).tolist() == pytest.approx(repeated)


def test_mean_iou_without_pixels_is_nan() -> None:
    assert np.isnan(mean_iou(np.zeros((0, 3, 3), np.int64), np.zeros((1, 0)))).all()


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        (np.zeros((2, 2)), np.zeros((2, 3)), r"expected \(2, 2\) as in the truth, got \(2, 3\)"),
        (np.full((2, 2), 2), np.zeros((2, 2)), "expected values 0..1, got larger ones in the truth"),
        (np.zeros((2, 2)), np.full((2, 2), 255), "expected values 0..1, got larger ones in the prediction"),
    ],
)
def test_invalid_class_maps_are_refused(truth: np.ndarray, predicted: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        confusion_matrix(truth.astype(np.uint8), predicted.astype(np.uint8), np.array([True]))
