from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks.competitors.model_files import quantize_competitor
from benchmarks.competitors.networks import (
    COMPETITORS,
    PEERS,
    CompetitorPredictor,
    Runtime,
    Setup,
    load_reference,
)
from benchmarks.competitors.networks import SEGMENTER as DEEPLAB
from benchmarks.competitors.run import evenly_spaced
from blitznet.core.errors import UsageError
from support.competitor import DETECTOR, SEGMENTER, SIZE, write_competitors

SHARED = Path(__file__).parents[4] / "shared"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_competitors(tmp_path_factory.mktemp("peers") / "competitors")


@pytest.fixture
def image() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (30, 50, 3), np.uint8)


def loop_detections(boxes: Any, scores: Any, threshold: float) -> list[tuple[int, float, list[float]]]:
    """NMS as a plain loop, with labels 2 (aeroplane) and 0 (cat) of columns 0 and 2."""
    detections = []
    for column, label in ((0, 2), (2, 0)):
        order = [k for k in np.argsort(-scores[:, column], kind="stable") if scores[k, column] > threshold][:400]
        selected: list[int] = []
        for k in order:
            if len(selected) < 50 and all(iou(boxes[k], boxes[j]) <= 0.5 for j in selected):
                selected.append(k)
        detections += [(label, float(scores[k, column]), boxes[k].tolist()) for k in selected]
    return sorted(detections, key=lambda detection: -detection[1])[:200]


def iou(a: Any, b: Any) -> float:
    size = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    inter = float(size.prod())
    return inter / float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inter)


@pytest.mark.parametrize("runtime", get_args(Runtime))
def test_detector_equals_its_reference(folder: Path, image: NDArray[np.uint8], runtime: Runtime) -> None:
    boxes, scores, labels = CompetitorPredictor(DETECTOR, Setup(runtime, "float32", 1), folder)(image)
    module = load_reference(folder)
    session = CompetitorPredictor(DETECTOR, Setup("onnxruntime", "float32", 1), folder).session
    reference_functions: dict[str, Any] = {
        "session": lambda _: session,
        "resized": lambda pixels, w, h: np.asarray(Image.fromarray(pixels).resize((w, h), Image.Resampling.BILINEAR)),
        "detections": loop_detections,
    }
    vars(module).update(reference_functions)
    expected = module.Detector()(image)
    assert len(expected) > 10
    assert labels.tolist() == [label for label, _, _ in expected]
    assert np.allclose(scores, [score for _, score, _ in expected], atol=1e-5)
    assert np.allclose(boxes, [box for _, _, box in expected], atol=1e-3)


@pytest.mark.parametrize("runtime", get_args(Runtime))
def test_segmenter_and_its_last_input(folder: Path, image: NDArray[np.uint8], runtime: Runtime) -> None:
    setup = Setup(runtime, "bfloat16" if runtime == "openvino" else "float32", 1)
    predictor = CompetitorPredictor(SEGMENTER, setup, folder)
    assert predictor(image).shape == (SIZE, SIZE)
    assert predictor.session.last_input["image"].shape == (1, 3, SIZE, SIZE)
    predictor.session.rerun()


def test_quantize_competitor(folder: Path, image: NDArray[np.uint8], tmp_path: Path) -> None:
    file = quantize_competitor(SEGMENTER, [image, image[::-1]], tmp_path / "segmenter.onnx", folder)
    operators = [node.op_type for node in onnx.load(file).graph.node]
    assert "QuantizeLinear" in operators
    assert "Cast" not in operators
    expected = CompetitorPredictor(SEGMENTER, Setup("onnxruntime", "float32", 1), folder)(image)
    int8 = CompetitorPredictor(SEGMENTER, Setup("onnxruntime", "int8", 1, file), folder)(image)
    assert (int8 == expected).mean() > 0.9


def test_missing_reference_code(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError,
        match=r"peers\.py: expected a file, got a path that does not exist; name another folder with --peers$",
    ):
        load_reference(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("competitor", COMPETITORS, ids=lambda competitor: competitor.title)
def test_published_networks_equal_their_reference(competitor: Any) -> None:
    if not PEERS.is_dir() or not (SHARED / "data").is_dir():
        pytest.skip("needs competitors and images beside the repository")
    reference = getattr(load_reference(), competitor.name)()
    predictor = CompetitorPredictor(competitor, Setup("onnxruntime", "float32", 2))
    for path in evenly_spaced(SHARED / "data", "val", 4):
        image = np.asarray(Image.open(path).convert("RGB"))
        expected, actual = reference(image), predictor(image)
        if competitor is DEEPLAB:
            assert np.array_equal(actual, expected)
            continue
        boxes, scores, labels = actual
        assert [load_reference().VOC[label] for label in labels] == [name for name, _, _ in expected]
        assert np.allclose(scores, [score for _, score, _ in expected], atol=1e-5)
        assert np.allclose(boxes, [box for _, _, box in expected], atol=0.01)
