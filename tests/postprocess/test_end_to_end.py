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
CLASS_MAPS = RNG.integers(0, 4, (2, *SPEC.size), np.uint8)
OUTPUTS = NmsOutputs(
    boxes=np.sort(RNG.random((2, 5, 4), np.float32).reshape(2, 5, 2, 2), axis=2).reshape(2, 5, 4),
    scores=np.array([[0.9, 0.5, 0.2, 0, 0], [0.7, 0.6, 0.5, 0.4, 0.02]], np.float32),
    labels=np.array([[2, 0, 1, 0, 0], [0, 0, 1, 2, 2]]),
    count=np.array([3, 5]),
    class_map=CLASS_MAPS,
)


@pytest.mark.parametrize("index", [0, 1])
def test_boxes_are_scaled_to_the_image(index: int) -> None:
    result = postprocess(OUTPUTS, index, SPEC, size=(90, 70))
    count = OUTPUTS.count[index]
    assert len(result) == count
    np.testing.assert_allclose(result.boxes, OUTPUTS.boxes[index, :count] * [70, 90, 70, 90], rtol=1e-6)
    np.testing.assert_array_equal(result.scores, OUTPUTS.scores[index, :count])
    np.testing.assert_array_equal(result.labels, OUTPUTS.labels[index, :count])
    assert (result.class_names, result.size) == (SPEC.classes, (90, 70))


@pytest.mark.parametrize("size", [SPEC.size, (128, 96), (90, 70), (1000, 31), (7, 5)])
def test_class_maps_are_resized_by_nearest_neighbor(size: tuple[int, int]) -> None:
    y, x = (
        [floor(Fraction(2 * i + 1, 2 * outside) * inside) for i in range(outside)]
        for outside, inside in zip(size, SPEC.size, strict=True)
    )
    expected = CLASS_MAPS[1][y][:, x]
    class_map = postprocess(OUTPUTS, 1, SPEC, size=size).class_map
    assert class_map is not None
    np.testing.assert_array_equal(class_map, expected)
    assert postprocess(OUTPUTS, 1, SPEC, size=size, class_map=False).class_map is None
    assert postprocess(replace(OUTPUTS, class_map=None), 1, SPEC, size=size).class_map is None


def test_config_may_raise_the_score_and_lower_the_number_of_detections() -> None:
    config = replace(SPEC.postprocess, score_threshold=0.45, max_detections=2)
    assert postprocess(OUTPUTS, 0, SPEC, size=(9, 9), config=config).scores.tolist() == pytest.approx([0.9, 0.5])
    assert len(postprocess(OUTPUTS, 1, SPEC, size=(9, 9), config=config)) == 2
    results = Predictor(FakeEngine(OUTPUTS)).batch([np.zeros((9, 9, 3), np.uint8)] * 2, min_score=0.5)
    assert [len(result) for result in results] == [2, 3]


@pytest.mark.parametrize(
    "config",
    [
        PostprocessConfig(nms_threshold=0.5),
        PostprocessConfig(score_threshold=0.001),
        PostprocessConfig(max_per_class=3),
        PostprocessConfig(max_detections=400),
    ],
)
def test_config_that_the_nms_inside_cannot_apply(config: PostprocessConfig) -> None:
    with pytest.raises(
        UsageError,
        match=r"^small: expected the thresholds of the NMS inside this file, PostprocessConfig\(.*\), got .* --nms$",
    ):
        postprocess(OUTPUTS, 0, SPEC, size=(9, 9), config=config)
