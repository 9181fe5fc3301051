import numpy as np
import pytest

from blitznet.metrics.per_image import image_scores, worst_images
from support.metric_cases import SIZE, result, sample, state_of

A, B, CLEAR = (10, 10, 30, 30), (40, 40, 80, 80), (80, 0, 95, 9)


def test_image_scores_counted_by_hand() -> None:
    mask, class_map = np.zeros((SIZE, SIZE), np.uint8), np.zeros((SIZE, SIZE), np.uint8)
    mask[:50], class_map[:25] = 1, 1
    pairs = [
        (
            result([A, CLEAR, B], [0, 0, 0], [0.9, 0.8, 0.2], class_map=class_map),
            sample("1", [A, B], [0, 0], mask=mask),
        ),
        (result([A], [0], [0.9]), sample("2", [A, B], [0, 0], difficult=[False, True])),
        (result(), sample("3")),
        (result([A], [0], [0.9]), sample("4")),
        (result(class_map=mask), sample("5", mask=mask)),
    ]
    scores = image_scores(state_of(pairs))
    assert scores.f1 == pytest.approx([2 / 4, 1, np.nan, 0, np.nan], nan_ok=True)
    assert scores.miou == pytest.approx([(1 / 2 + 2 / 3) / 2, np.nan, np.nan, np.nan, 1], nan_ok=True)
    assert scores.overall == pytest.approx([(1 / 2 + 7 / 12) / 2, 1, np.nan, 0, 1], nan_ok=True)
    assert worst_images(scores, 9) == [3, 0]
    assert worst_images(scores, 1) == [3]
