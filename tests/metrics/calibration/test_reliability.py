import numpy as np

from blitznet.metrics.calibration.reliability import Bin, reliability
from support.metric_cases import drawn, evidence_of, result, sample

A, B, CLEAR = (10, 10, 30, 30), (40, 40, 80, 80), (80, 0, 95, 9)


def test_counted_by_hand() -> None:
    truth = sample("a", [A, B], [0, 1], difficult=[False, True])
    found = result([A, B, CLEAR, CLEAR], [0, 1, 0, 0], [1, 0.95, 0.9375, 0.25])
    assert reliability(evidence_of([(found, truth)])) == (Bin(0.2, 0.3, 1, 0.25, 0), Bin(0.9, 1, 2, 0.96875, 0.5))


def test_nothing_found() -> None:
    assert reliability(evidence_of([(result(), sample("a", [A], [0]))])) == ()


def test_every_detection_that_counts_is_in_one_bin() -> None:
    rng = np.random.default_rng(0)
    bins = reliability(evidence_of([drawn(rng, f"{n}") for n in range(10)]), 7)
    assert all(one.low <= one.score <= one.high for one in bins)
    assert 80 < sum(one.count for one in bins) <= sum(8 + 15 for _ in range(10))
