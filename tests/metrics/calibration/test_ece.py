import numpy as np
import pytest

from blitznet.core.arrays import Floats
from blitznet.metrics import voc_ap
from blitznet.metrics.calibration.ece import (
    ECE_BINS,
    box_bins,
    calibration_bins,
    ece_or_worst,
    expected_calibration_error,
    pixel_bins,
)
from blitznet.metrics.matching import IGNORED, TRUE_POSITIVE
from support.metric_cases import random_case, state_of


def slow_ece(scores: Floats, correct: list[bool], min_score: float, num_bins: int = ECE_BINS) -> float:
    """ECE bin by bin, by the edges of the bins."""
    gaps, count = 0.0, 0
    for index in range(num_bins):
        low = min_score + index * (1 - min_score) / num_bins
        high = min_score + (index + 1) * (1 - min_score) / num_bins
        inside = [n for n, s in enumerate(scores) if low <= s < high or (s == 1 and index == num_bins - 1)]
        if inside:
            mean, accuracy = (float(np.mean([values[n] for n in inside])) for values in (scores.astype(float), correct))
            gaps, count = gaps + len(inside) * abs(mean - accuracy), count + len(inside)
    return gaps / count


@pytest.mark.parametrize("num_bins", [10, ECE_BINS])
@pytest.mark.parametrize("min_score", [0.0, 0.3])
def test_ece_equals_the_slow_version(min_score: float, num_bins: int) -> None:
    rng = np.random.default_rng(0)
    scores = np.append(rng.random(300), 1).astype(np.float32)
    correct = rng.random(301) < scores**2
    bins = calibration_bins(scores, correct, min_score, num_bins)
    assert bins.shape == (3, num_bins)
    assert expected_calibration_error(bins) == pytest.approx(slow_ece(scores, correct.tolist(), min_score, num_bins))


def test_ece_of_empty_bins() -> None:
    bins = calibration_bins(np.array([0.2], np.float32), np.array([True]), 0.3)
    assert expected_calibration_error(bins) is None
    assert ece_or_worst(bins) == 1


def test_box_bins_leave_out_ignored_detections() -> None:
    rng = np.random.default_rng(0)
    state = state_of([random_case(rng, f"{n}") for n in range(20)])
    match = voc_ap.match_by_rule(state.predictions, state.objects, "devkit")
    assert (match == IGNORED).any()
    pairs = [
        (score, outcome == TRUE_POSITIVE)
        for score, outcome in zip(state.predictions.score, match, strict=True)
        if outcome != IGNORED and score >= 0.3
    ]
    expected = slow_ece(np.array([score for score, _ in pairs]), [bool(correct) for _, correct in pairs], 0.3)
    actual = expected_calibration_error(box_bins(state.predictions, state.objects, "devkit"))
    assert actual == pytest.approx(expected)


def test_pixel_bins_leave_out_void_background_and_classes_without_annotation() -> None:
    truth = np.array([[0, 0, 0, 1, 1, 255, 2]], np.uint8)
    predicted = np.array([[0, 1, 2, 1, 2, 1, 2]], np.uint8)
    confidence = np.array([[0.9, 0.5, 0.6, 0.7, 0.8, 0.4, 0.95]], np.float32)
    bins = pixel_bins(truth, predicted, confidence, np.array([True, False]))
    assert bins.sum(1).tolist() == pytest.approx([4, 0.5 + 0.7 + 0.8 + 0.95, 2])


def test_ece_has_the_fifteen_bins_of_its_source() -> None:
    """Guo et al., 2017, section 4: M = 15; scores 0.06 and 0.07 are on two sides of the edge 1 / 15."""
    bins = calibration_bins(np.array([0.06, 0.07], np.float32), np.array([True, False]))
    assert bins.shape == (3, 15)
    assert bins[0, :2].tolist() == [1, 1]


def test_a_score_at_an_edge_belongs_to_the_bin_above_it() -> None:
    """Also at the minimum: a detection with a score of 0.3 is one of those from 0.3 on."""
    edges = calibration_bins(np.array([0.5, 0.75, 1.0], np.float32), np.ones(3, np.bool_), 0.5, 2)
    assert edges[0].tolist() == [1, 2]
    scores = np.array([0.3, np.nextafter(np.float32(0.3), np.float32(0))], np.float32)
    assert calibration_bins(scores, np.ones(2, np.bool_), 0.3)[0].sum() == 1
