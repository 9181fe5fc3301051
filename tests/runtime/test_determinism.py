"""Predictions are the same alone, in any batch, in any order, in streams and by repetition; engines agree.

Tolerances: one engine gives scores within 1e-5 and boxes within 0.01 pixels. The engines of a float32 network give the
same detections, scores within 1e-3, boxes within 0.5 pixels, and the same class for 99.9 % of the pixels.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from blitznet.api import load
from blitznet.core.image import ImageSource
from blitznet.core.model_paths import find_weights
from blitznet.export.formats import SUFFIXES, Format, export
from blitznet.nets.model_files import load_model
from blitznet.postprocess.result import Result
from blitznet.runtime.engine import EngineName
from blitznet.runtime.image_paths import find_images
from blitznet.runtime.predictor import Predictor

MODEL = "blitznet300-lite"
PACKAGED: tuple[EngineName, ...] = ("onnxruntime", "openvino")
FLOAT: tuple[tuple[Format, EngineName], ...] = (("onnx", "onnxruntime"), ("onnx", "openvino"), ("openvino", "openvino"))


def images() -> list[ImageSource]:
    """The sample images, a mirror image and a part: five images of different sizes."""
    samples = [ImageSource(path) for path in find_images()]
    first = samples[0].read()
    return [*samples, ImageSource(first[:, ::-1].copy()), ImageSource(first[: len(first) // 2].copy())]


def unmatched(first: Result, second: Result, score: float, pixels: float) -> list[str]:
    """Detections of 0.5 and more in the first result without an equal one in the second."""
    return [
        f"{item.class_name} {item.score:.4f} {item.box}"
        for item in first.filter(min_score=0.5 + score)
        if not any(
            item.label == candidate.label
            and abs(item.score - candidate.score) <= score
            and np.abs(np.subtract(item.box, candidate.box)).max() <= pixels
            for candidate in second
        )
    ]


def assert_same(first: Result, second: Result, *, score: float, pixels: float, share: float = 1.0) -> None:
    assert not unmatched(first, second, score, pixels)
    assert not unmatched(second, first, score, pixels)
    assert len(first.filter(min_score=0.5))
    assert first.class_map is not None
    assert second.class_map is not None
    assert (first.class_map == second.class_map).mean() >= share


def assert_all_same(first: Sequence[Result], second: Sequence[Result]) -> None:
    assert len(first) == len(second)
    for left, right in zip(first, second, strict=True):
        assert_same(left, right, score=1e-5, pixels=0.01, share=0.9999)


@pytest.fixture(scope="module", params=PACKAGED)
def predictor(request: pytest.FixtureRequest) -> Predictor:
    """The packaged int8 model on one engine, with all detections."""
    opened = load(MODEL, engine=request.param, threads=1, min_score=0.3)
    assert isinstance(opened, Predictor)
    return opened


def test_prediction_does_not_depend_on_batch_order_and_repetition(predictor: Predictor) -> None:
    sources = [source for source in images() if len(predictor(source).filter(min_score=0.5))]
    assert len(sources) >= 3
    alone = [predictor(source) for source in sources]
    for first, second in zip(alone, [predictor(source) for source in sources], strict=True):
        np.testing.assert_array_equal(first.boxes, second.boxes)
        np.testing.assert_array_equal(first.scores, second.scores)
        np.testing.assert_array_equal(first.class_map, second.class_map)
    assert_all_same(predictor.batch(sources), alone)
    rng = np.random.default_rng(0)
    for size in (1, 2, 3):
        order = rng.permutation(len(sources)).tolist()
        shuffled = [sources[index] for index in order]
        streamed = [item.result for item in predictor.stream(shuffled, batch=size)]
        assert_all_same([result for result in streamed if result is not None], [alone[index] for index in order])


@pytest.mark.slow
def test_engines_of_a_float32_network_agree(tmp_path: Path) -> None:
    path = find_weights(MODEL)
    net, spec = load_model(path)
    reference = load(path, engine="torch", threads=1, min_score=0.3)
    threads = torch.get_num_threads()
    expected = [reference(source) for source in images()]
    torch.set_num_threads(threads)
    for file_format, engine in FLOAT:
        exported = tmp_path / f"{engine}{SUFFIXES[file_format]}"
        export(net, spec, exported, file_format)
        predictor = load(exported, engine=engine, threads=1, min_score=0.3)
        compared = [
            (predictor(source), result)
            for source, result in zip(images(), expected, strict=True)
            if len(result.filter(min_score=0.5))
        ]
        assert len(compared) >= 3
        for actual, result in compared:
            assert_same(actual, result, score=1e-3, pixels=0.5, share=0.999)
