from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blitznet.core.errors import BlitzNetError, DataError, UsageError
from blitznet.core.image import ImageSource
from blitznet.core.spec import PostprocessConfig
from blitznet.postprocess.postprocess import postprocess
from blitznet.postprocess.result import Result
from blitznet.runtime.predictor import Predictor
from support.fake_engines import SPEC, FakeEngine, random_outputs

PIXELS = np.full((90, 70, 3), 80, np.uint8)


def assert_equal_detections(a: Result, b: Result) -> None:
    np.testing.assert_array_equal(a.boxes, b.boxes)
    np.testing.assert_array_equal(a.scores, b.scores)
    np.testing.assert_array_equal(a.labels, b.labels)


def test_predictor_preprocesses_runs_and_postprocesses(tmp_path: Path) -> None:
    outputs = random_outputs()
    engine = FakeEngine(outputs)
    predictor = Predictor(engine)
    result = predictor(PIXELS)
    assert engine.batches[0].shape == (1, 64, 48, 3)
    assert predictor.spec is SPEC
    assert result.size == (90, 70)
    assert result.class_map is not None
    assert_equal_detections(result, postprocess(outputs, 0, SPEC, size=(90, 70)))
    path = tmp_path / "image.png"
    Image.fromarray(PIXELS).save(path)
    for image in (path, str(path), Image.fromarray(PIXELS)):
        assert_equal_detections(predictor(image), result)
    assert predictor(PIXELS, class_map=False).class_map is None


def test_batch_runs_the_network_once() -> None:
    outputs = random_outputs(2)
    engine = FakeEngine(outputs)
    results = Predictor(engine).batch([PIXELS, PIXELS[:50]])
    assert [result.size for result in results] == [(90, 70), (50, 70)]
    assert len(engine.batches) == 1
    assert_equal_detections(results[1], postprocess(outputs, 1, SPEC, size=(50, 70)))
    assert Predictor(engine).batch([]) == []


def test_lists_folders_and_globs_are_predicted(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "c.png"):
        Image.fromarray(PIXELS).save(tmp_path / name)
    predictor = Predictor(FakeEngine(random_outputs(3)))
    paths = sorted(tmp_path.glob("*.png"))
    for several in (predictor(list(paths)), predictor(tuple(paths)), predictor.batch(tmp_path), predictor(tmp_path)):
        assert [result.image and result.image.name for result in several] == [str(path) for path in paths]  # type: ignore[union-attr]
    for source in (tmp_path, str(tmp_path / "*.png"), paths):
        assert [item.source for item in predictor.stream(source)] == paths
    assert [item.source for item in predictor.stream(str(paths[0]))] == [paths[0]]
    assert predictor([]) == []


def test_large_lists_run_in_several_batches() -> None:
    engine = FakeEngine(random_outputs(16))
    assert len(Predictor(engine).batch([PIXELS] * 40)) == 40
    assert [len(batch) for batch in engine.batches] == [16, 16, 8]


@pytest.mark.parametrize(
    "image", [None, [None], 3, bytearray(b"x"), PIXELS[5:5], "missing.jpg", object(), b"", "x" * 400]
)
def test_wrong_kinds_of_images_are_errors(image: Any) -> None:
    with pytest.raises(BlitzNetError) as raised:
        Predictor(FakeEngine(random_outputs()))(image)
    assert "\n" not in str(raised.value)


def test_a_stream_goes_on_after_wrong_kinds_of_images() -> None:
    images: list[Any] = [PIXELS, None, PIXELS[5:5], ["a.jpg"], PIXELS]
    items = list(Predictor(FakeEngine(random_outputs())).stream(images))
    assert [item.result is None for item in items] == [False, True, True, True, False]
    assert all(isinstance(item.error, DataError) for item in items[1:4])


@pytest.mark.parametrize("source", [None, 3, b"content", PIXELS, Image.fromarray(PIXELS), ImageSource(PIXELS)])
def test_one_image_in_place_of_several_is_an_error(source: Any) -> None:
    predictor = Predictor(FakeEngine(random_outputs()))
    for method in (predictor.stream, predictor.batch):
        with pytest.raises(UsageError, match=f"^{method.__name__}: expected several images, a folder or a glob, got "):
            method(source)


def test_batches_of_anything_iterable() -> None:
    predictor = Predictor(FakeEngine(random_outputs(16)))
    assert len(predictor.batch(PIXELS for _ in range(17))) == 17
    assert len(predictor.batch(np.stack([PIXELS] * 3))) == 3
    assert predictor.batch([]) == []


def test_a_predictors_own_min_score_is_the_default_of_calls() -> None:
    outputs = random_outputs()
    every, some = Predictor(FakeEngine(outputs)), Predictor(FakeEngine(outputs), min_score=0.6)
    expected = every(PIXELS).filter(min_score=0.6)
    assert 0 < len(expected) < len(every(PIXELS))
    assert_equal_detections(some(PIXELS), expected)
    assert_equal_detections(some.batch([PIXELS])[0], expected)
    [item] = some.stream([PIXELS])
    assert item.result is not None
    assert_equal_detections(item.result, expected)
    assert_equal_detections(some(PIXELS, min_score=0), every(PIXELS))
    assert_equal_detections(some.all_detections(PIXELS), every(PIXELS))


@pytest.mark.parametrize("score", ["0.5", 2, -0.1, float("nan")])
def test_invalid_min_scores(score: Any) -> None:
    with pytest.raises(UsageError, match="min_score: expected 0 to 1, got"):
        Predictor(FakeEngine(random_outputs()), min_score=score)
    with pytest.raises(UsageError, match="min_score: expected 0 to 1, got"):
        Predictor(FakeEngine(random_outputs()))(PIXELS, min_score=score)


def test_a_predictor_prints_one_line() -> None:
    text = repr(Predictor(FakeEngine(random_outputs())))
    assert text == "Predictor(3 classes; detection and segmentation; input 48x64; engine fake)"


def test_config_replaces_the_specs_thresholds() -> None:
    assert len(Predictor(FakeEngine(random_outputs()), PostprocessConfig(max_detections=3))(PIXELS)) == 3


@pytest.mark.parametrize("score", [0.0, 0.005, 0.01, 0.3, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_min_score_equals_filtering_the_result(score: float, seed: int) -> None:
    config = PostprocessConfig(topk_candidates=30, max_per_class=8, max_detections=15)
    predictor = Predictor(FakeEngine(random_outputs(seed=seed)), config)
    assert_equal_detections(predictor(PIXELS, min_score=score), predictor(PIXELS).filter(min_score=score))


def test_min_score_is_inclusive() -> None:
    predictor = Predictor(FakeEngine(random_outputs()))
    full = predictor(PIXELS)
    assert len(predictor(PIXELS, min_score=float(full.scores[4]))) == 5


@pytest.mark.parametrize("score", [-0.1, 1.5, 50.0, float("nan")])
def test_invalid_min_score_is_refused(score: float) -> None:
    with pytest.raises(UsageError, match=f"^min_score: expected 0 to 1, got {score}"):
        Predictor(FakeEngine(random_outputs()))(PIXELS, min_score=score)


def test_missing_image_is_refused() -> None:
    with pytest.raises(DataError, match=r"nowhere\.jpg: expected a file, got a path that does not exist"):
        Predictor(FakeEngine(random_outputs()))("nowhere.jpg")


def test_result_keeps_the_image_to_draw_on(tmp_path: Path) -> None:
    result = Predictor(FakeEngine(random_outputs()))(PIXELS, min_score=0.5)
    assert result.image is not None
    assert result.image.source is PIXELS
    result.save(tmp_path / "annotated.png")
    with Image.open(tmp_path / "annotated.png") as saved:
        assert saved.size == (70, 90)
