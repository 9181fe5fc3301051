import numpy as np
import pytest

from blitznet.core.errors import DataError
from blitznet.metrics.bootstrap import once
from blitznet.metrics.miou import class_iou, confusion, mean_iou

ALL = np.array([True, True])
ONE = np.array([True])


def test_worked_value() -> None:
    """Reference, section 10."""
    assert mean_iou(np.array([[[3, 1], [1, 3]]]), once(1))[0] == pytest.approx(0.6)


def test_counted_by_hand() -> None:
    truth = np.array([[0, 0, 1, 1, 255]], np.uint8)
    predicted = np.array([[0, 1, 1, 2, 1]], np.uint8)
    table = confusion(truth, predicted, ALL)
    assert table.tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert class_iou(table)[:2].tolist() == [1 / 2, 1 / 3]
    assert mean_iou(table[None], once(1))[0] == pytest.approx(5 / 12)  # class 2 is not in the truth


def test_slow_version() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice([0, 1, 2, 255], (9, 7)).astype(np.uint8)
    predicted = rng.integers(0, 3, (9, 7)).astype(np.uint8)
    slow = np.zeros((3, 3), np.int64)
    for true, guess in zip(truth.ravel(), predicted.ravel(), strict=True):
        if true != 255:
            slow[true, guess] += 1
    assert confusion(truth, predicted, ALL).tolist() == slow.tolist()


def test_classes_that_may_hide_in_the_background_are_not_called_wrong() -> None:
    truth = np.array([[0, 0, 0, 1]], np.uint8)
    predicted = np.array([[0, 1, 2, 2]], np.uint8)
    known = np.array([True, False])
    assert confusion(truth, predicted, known).tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_one_confusion_over_all_images_not_a_mean_of_images() -> None:
    tables = np.array([[[8, 0], [0, 0]], [[0, 0], [4, 4]]])
    assert mean_iou(tables, once(2))[0] == pytest.approx((8 / 12 + 4 / 8) / 2)


def test_weights_are_images_taken_several_times() -> None:
    tables = np.random.default_rng(1).integers(0, 9, (4, 3, 3))
    times = np.array([[2, 0, 1, 1], [0, 0, 3, 1]])
    repeated = [mean_iou(tables.repeat(row, 0), once(4))[0] for row in times]
    assert mean_iou(tables, times).tolist() == pytest.approx(repeated)


def test_no_pixels() -> None:
    assert np.isnan(mean_iou(np.zeros((0, 3, 3), np.int64), np.zeros((1, 0), np.int64))).all()


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        (np.zeros((2, 2)), np.zeros((2, 3)), r"expected \(2, 2\) as in the truth, got \(2, 3\)"),
        (np.full((2, 2), 2), np.zeros((2, 2)), "expected values 0..1, got larger ones in the truth"),
        (np.zeros((2, 2)), np.full((2, 2), 255), "expected values 0..1, got larger ones in the prediction"),
    ],
)
def test_refused(truth: np.ndarray, predicted: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        confusion(truth.astype(np.uint8), predicted.astype(np.uint8), ONE)
