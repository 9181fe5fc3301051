import numpy as np
import pytest

from blitznet.metrics.per_image import image_scores, worst
from support.metric_cases import SIDE, evidence_of, result, sample

A, B, CLEAR = (10, 10, 30, 30), (40, 40, 80, 80), (80, 0, 95, 9)


def test_counted_by_hand() -> None:
    mask, answer = np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), np.uint8)
    mask[:50], answer[:25] = 1, 1
    pairs = [
        (result([A, CLEAR, B], [0, 0, 0], [0.9, 0.8, 0.2], class_map=answer), sample("1", [A, B], [0, 0], mask=mask)),
        (result([A], [0], [0.9]), sample("2", [A, B], [0, 0], difficult=[False, True])),
        (result(), sample("3")),
        (result([A], [0], [0.9]), sample("4")),
        (result(class_map=mask), sample("5", mask=mask)),
    ]
    scores = image_scores(evidence_of(pairs))
    assert scores.f1 == pytest.approx([2 / 4, 1, np.nan, 0, np.nan], nan_ok=True)
    assert scores.miou == pytest.approx([(1 / 2 + 2 / 3) / 2, np.nan, np.nan, np.nan, 1], nan_ok=True)
    assert scores.overall == pytest.approx([(1 / 2 + 7 / 12) / 2, 1, np.nan, 0, 1], nan_ok=True)
    assert worst(scores, 9) == [3, 0]
    assert worst(scores, 1) == [3]
