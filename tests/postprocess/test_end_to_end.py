from dataclasses import replace
from fractions import Fraction
from math import floor

import numpy as np
import pytest

from blitznet.core.errors import UsageError
from blitznet.core.outputs import NmsOutputs
from blitznet.core.spec import PostprocessConfig
from blitznet.postprocess.postprocess import postprocess
from blitznet.runtime.predictor import Predictor
from support.fake_engines import SPEC, FakeEngine

RNG = np.random.default_rng(0)
MAP = RNG.integers(0, 4, (2, *SPEC.size), np.uint8)
FOUND = NmsOutputs(
    boxes=np.sort(RNG.random((2, 5, 4), np.float32).reshape(2, 5, 2, 2), axis=2).reshape(2, 5, 4),
    scores=np.array([[0.9, 0.5, 0.2, 0, 0], [0.7, 0.6, 0.5, 0.4, 0.02]], np.float32),
    labels=np.array([[2, 0, 1, 0, 0], [0, 0, 1, 2, 2]]),
    count=np.array([3, 5]),
    class_map=MAP,
)


@pytest.mark.parametrize("index", [0, 1])
def test_finished_answers_are_brought_to_the_images_size(index: int) -> None:
    result = postprocess(FOUND, index, SPEC, size=(90, 70))
    count = FOUND.count[index]
    assert len(result) == count
    np.testing.assert_allclose(result.boxes, FOUND.boxes[index, :count] * [70, 90, 70, 90], rtol=1e-6)
    np.testing.assert_array_equal(result.scores, FOUND.scores[index, :count])
    np.testing.assert_array_equal(result.labels, FOUND.labels[index, :count])
    assert (result.class_names, result.size) == (SPEC.classes, (90, 70))


@pytest.mark.parametrize("size", [SPEC.size, (128, 96), (90, 70), (1000, 31), (7, 5)])
def test_class_maps_are_brought_to_the_images_size_by_nearest_pixels(size: tuple[int, int]) -> None:
    y, x = (
        [floor(Fraction(2 * i + 1, 2 * outside) * inside) for i in range(outside)]
        for outside, inside in zip(size, SPEC.size, strict=True)
    )
    expected = MAP[1][y][:, x]
    painted = postprocess(FOUND, 1, SPEC, size=size).class_map
    assert painted is not None
    np.testing.assert_array_equal(painted, expected)
    assert postprocess(FOUND, 1, SPEC, size=size, class_map=False).class_map is None
    assert postprocess(replace(FOUND, class_map=None), 1, SPEC, size=size).class_map is None


def test_limits_raise_the_score_and_leave_out_boxes() -> None:
    limits = replace(SPEC.postprocess, score_threshold=0.45, max_detections=2)
    assert postprocess(FOUND, 0, SPEC, size=(9, 9), config=limits).scores.tolist() == pytest.approx([0.9, 0.5])
    assert len(postprocess(FOUND, 1, SPEC, size=(9, 9), config=limits)) == 2
    results = Predictor(FakeEngine(FOUND)).batch([np.zeros((9, 9, 3), np.uint8)] * 2, min_score=0.5)
    assert [len(result) for result in results] == [2, 3]


@pytest.mark.parametrize(
    "limits",
    [
        PostprocessConfig(nms_threshold=0.5),
        PostprocessConfig(score_threshold=0.001),
        PostprocessConfig(max_per_class=3),
        PostprocessConfig(max_detections=400),
    ],
)
def test_limits_that_the_file_cannot_go_back_to(limits: PostprocessConfig) -> None:
    with pytest.raises(
        UsageError, match=r"^small: its file has suppressed by Limits\(.*\), expected Limits\(.*without --nms$"
    ):
        postprocess(FOUND, 0, SPEC, size=(9, 9), config=limits)
