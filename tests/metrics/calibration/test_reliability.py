import numpy as np

from blitznet.metrics.calibration.reliability import ReliabilityBin, reliability
from support.metric_cases import random_case, result, sample, state_of

A, B, CLEAR = (10, 10, 30, 30), (40, 40, 80, 80), (80, 0, 95, 9)


def test_reliability_counted_by_hand() -> None:
    truth = sample("a", [A, B], [0, 1], difficult=[False, True])
    predicted = result([A, B, CLEAR, CLEAR], [0, 1, 0, 0], [1, 0.95, 0.9375, 0.25])
    assert reliability(state_of([(predicted, truth)])) == (
        ReliabilityBin(0.2, 0.3, 1, 0.25, 0),
        ReliabilityBin(0.9, 1, 2, 0.96875, 0.5),
    )


def test_reliability_without_detections() -> None:
    assert reliability(state_of([(result(), sample("a", [A], [0]))])) == ()


def test_every_scored_detection_is_in_one_bin() -> None:
    rng = np.random.default_rng(0)
    bins = reliability(state_of([random_case(rng, f"{n}") for n in range(10)]), 7)
    assert all(part.low <= part.mean_score <= part.high for part in bins)
    assert 80 < sum(part.count for part in bins) <= sum(8 + 15 for _ in range(10))
