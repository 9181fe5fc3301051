import numpy as np
import pytest

from blitznet.core.arrays import Floats
from blitznet.metrics import voc_ap
from blitznet.metrics.calibration.ece import BINS, bins, box_bins, calibration_error, pixel_bins
from support.metric_cases import drawn, evidence_of


def slow_error(scores: Floats, right: list[bool], least: float) -> float:
    """Bin after bin, by its edges."""
    gaps, counted = 0.0, 0
    for place in range(BINS):
        low, high = least + place * (1 - least) / BINS, least + (place + 1) * (1 - least) / BINS
        inside = [n for n, s in enumerate(scores) if low <= s < high or (s == 1 and place == BINS - 1)]
        if inside:
            mean, share = (float(np.mean([values[n] for n in inside])) for values in (scores.astype(float), right))
            gaps, counted = gaps + len(inside) * abs(mean - share), counted + len(inside)
    return gaps / counted


@pytest.mark.parametrize("least", [0.0, 0.3])
def test_slow_version(least: float) -> None:
    rng = np.random.default_rng(0)
    scores = np.append(rng.random(300), 1).astype(np.float32)
    right = rng.random(301) < scores**2
    assert calibration_error(bins(scores, right, least)) == pytest.approx(slow_error(scores, right.tolist(), least))


def test_nothing_to_measure() -> None:
    assert calibration_error(bins(np.array([0.2], np.float32), np.array([True]), 0.3)) is None


def test_boxes_that_are_ignored_count_for_nothing() -> None:
    rng = np.random.default_rng(0)
    evidence = evidence_of([drawn(rng, f"{n}") for n in range(20)])
    verdict = voc_ap.verdicts(evidence.found, evidence.objects, "devkit")
    assert (verdict == -1).any()
    pairs = [(s, v == 1) for s, v in zip(evidence.found.score, verdict, strict=True) if v != -1 and s >= 0.3]
    expected = slow_error(np.array([s for s, _ in pairs]), [bool(r) for _, r in pairs], 0.3)
    found = calibration_error(box_bins(evidence.found, evidence.objects, "devkit"))
    assert found == pytest.approx(expected)


def test_pixels_of_void_background_and_unknown_classes_are_left_out() -> None:
    truth = np.array([[0, 0, 0, 1, 1, 255, 2]], np.uint8)
    painted = np.array([[0, 1, 2, 1, 2, 1, 2]], np.uint8)
    sure = np.array([[0.9, 0.5, 0.6, 0.7, 0.8, 0.4, 0.95]], np.float32)
    table = pixel_bins(truth, painted, sure, np.array([True, False]))
    assert table.sum(1).tolist() == pytest.approx([4, 0.5 + 0.7 + 0.8 + 0.95, 2])
