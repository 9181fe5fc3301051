from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blitznet.core.errors import DataError, UsageError
from blitznet.core.spec import PostprocessConfig
from blitznet.postprocess.postprocess import postprocess
from blitznet.postprocess.result import Result
from blitznet.runtime.predictor import Predictor
from support.fake_engines import SPEC, FakeEngine, random_outputs

PIXELS = np.full((90, 70, 3), 80, np.uint8)


def same(a: Result, b: Result) -> None:
    np.testing.assert_array_equal(a.boxes, b.boxes)
    np.testing.assert_array_equal(a.scores, b.scores)
    np.testing.assert_array_equal(a.labels, b.labels)


def test_prepares_runs_and_finishes(tmp_path: Path) -> None:
    outputs = random_outputs()
    engine = FakeEngine(outputs)
    predictor = Predictor(engine)
    result = predictor(PIXELS)
    assert engine.fed[0].shape == (1, 64, 48, 3)
    assert predictor.spec is SPEC
    assert result.size == (90, 70)
    assert result.class_map is not None
    same(result, postprocess(outputs, 0, SPEC, size=(90, 70)))
    path = tmp_path / "image.png"
    Image.fromarray(PIXELS).save(path)
    for image in (path, str(path), Image.fromarray(PIXELS)):
        same(predictor(image), result)
    assert predictor(PIXELS, class_map=False).class_map is None


def test_a_batch_runs_once() -> None:
    outputs = random_outputs(2)
    engine = FakeEngine(outputs)
    results = Predictor(engine).batch([PIXELS, PIXELS[:50]])
    assert [result.size for result in results] == [(90, 70), (50, 70)]
    assert len(engine.fed) == 1
    same(results[1], postprocess(outputs, 1, SPEC, size=(50, 70)))
    assert Predictor(engine).batch([]) == []


def test_limits_instead_of_the_contracts() -> None:
    assert len(Predictor(FakeEngine(random_outputs()), PostprocessConfig(max_detections=3))(PIXELS)) == 3


@pytest.mark.parametrize("score", [0.0, 0.005, 0.01, 0.3, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_score_is_the_same_as_leaving_out_the_rest_at_the_end(score: float, seed: int) -> None:
    limits = PostprocessConfig(topk_candidates=30, max_per_class=8, max_detections=15)
    predictor = Predictor(FakeEngine(random_outputs(seed=seed)), limits)
    same(predictor(PIXELS, min_score=score), predictor(PIXELS).filter(min_score=score))


def test_a_score_that_is_met_exactly_stays() -> None:
    predictor = Predictor(FakeEngine(random_outputs()))
    full = predictor(PIXELS)
    assert len(predictor(PIXELS, min_score=float(full.scores[4]))) == 5


@pytest.mark.parametrize("score", [-0.1, 1.5, 50.0, float("nan")])
def test_a_score_that_cannot_be(score: float) -> None:
    with pytest.raises(UsageError, match=f"score: expected 0 to 1, got {score}"):
        Predictor(FakeEngine(random_outputs()))(PIXELS, min_score=score)


def test_a_missing_image() -> None:
    with pytest.raises(DataError, match=r"nowhere\.jpg: there is no such file"):
        Predictor(FakeEngine(random_outputs()))("nowhere.jpg")
