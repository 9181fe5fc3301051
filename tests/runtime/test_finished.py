from dataclasses import replace
from fractions import Fraction
from math import floor

import numpy as np
import pytest

from blitznet.core.errors import UsageError
from blitznet.core.result import Detections
from blitznet.core.spec import Limits
from blitznet.runtime.finish import finish
from blitznet.runtime.predictor import Predictor
from runtime.fakes import SPEC, FakeEngine

RNG = np.random.default_rng(0)
MAP = RNG.integers(0, 4, (2, *SPEC.size), np.uint8)
FOUND = Detections(
    boxes=np.sort(RNG.random((2, 5, 4), np.float32).reshape(2, 5, 2, 2), axis=2).reshape(2, 5, 4),
    scores=np.array([[0.9, 0.5, 0.2, 0, 0], [0.7, 0.6, 0.5, 0.4, 0.02]], np.float32),
    labels=np.array([[2, 0, 1, 0, 0], [0, 0, 1, 2, 2]]),
    count=np.array([3, 5]),
    class_map=MAP,
)


@pytest.mark.parametrize("index", [0, 1])
def test_finished_answers_are_brought_to_the_photos_size(index: int) -> None:
    result = finish(FOUND, index, SPEC, size=(90, 70))
    count = FOUND.count[index]
    assert len(result) == count
    np.testing.assert_allclose(result.boxes, FOUND.boxes[index, :count] * [70, 90, 70, 90], rtol=1e-6)
    np.testing.assert_array_equal(result.scores, FOUND.scores[index, :count])
    np.testing.assert_array_equal(result.labels, FOUND.labels[index, :count])
    assert (result.names, result.size) == (SPEC.classes, (90, 70))


@pytest.mark.parametrize("size", [SPEC.size, (128, 96), (90, 70), (1000, 31), (7, 5)])
def test_class_maps_are_brought_to_the_photos_size_by_nearest_pixels(size: tuple[int, int]) -> None:
    y, x = (
        [floor(Fraction(2 * i + 1, 2 * outside) * inside) for i in range(outside)]
        for outside, inside in zip(size, SPEC.size, strict=True)
    )
    wanted = MAP[1][y][:, x]
    painted = finish(FOUND, 1, SPEC, size=size).class_map
    assert painted is not None
    np.testing.assert_array_equal(painted, wanted)
    assert finish(FOUND, 1, SPEC, size=size, class_map=False).class_map is None
    assert finish(replace(FOUND, class_map=None), 1, SPEC, size=size).class_map is None


def test_limits_raise_the_score_and_leave_out_boxes() -> None:
    limits = replace(SPEC.limits, score=0.45, per_image=2)
    assert finish(FOUND, 0, SPEC, size=(9, 9), limits=limits).scores.tolist() == pytest.approx([0.9, 0.5])
    assert len(finish(FOUND, 1, SPEC, size=(9, 9), limits=limits)) == 2
    results = Predictor(FakeEngine(FOUND)).batch([np.zeros((9, 9, 3), np.uint8)] * 2, score=0.5)
    assert [len(result) for result in results] == [2, 3]


@pytest.mark.parametrize("limits", [Limits(iou=0.5), Limits(score=0.001), Limits(per_class=3), Limits(per_image=400)])
def test_limits_that_the_file_cannot_go_back_to(limits: Limits) -> None:
    with pytest.raises(
        UsageError, match=r"^small: its file has suppressed by Limits\(.*\), wanted Limits\(.*without --nms$"
    ):
        finish(FOUND, 0, SPEC, size=(9, 9), limits=limits)
