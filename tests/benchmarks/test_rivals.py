from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from PIL import Image

from blitznet.core.errors import UsageError
from peers import evenly
from quantise import quantise
from rivals import HOME, PEERS, Rival, Runtime, Setup, reference
from rivals import SEGMENTER as DEEPLAB
from support.competitor import DETECTOR, SEGMENTER, SIDE, write_home

SHARED = Path(__file__).parents[2].parent / "shared"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_home(tmp_path_factory.mktemp("peers") / "here")


@pytest.fixture
def image() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (30, 50, 3), np.uint8)


def plain(boxes: Any, scores: Any, threshold: float) -> list[tuple[int, float, list[float]]]:
    """Suppression as one would write it down, with labels 2 (aeroplane) and 0 (cat) of columns 0 and 2."""
    found = []
    for column, label in ((0, 2), (2, 0)):
        order = [k for k in np.argsort(-scores[:, column], kind="stable") if scores[k, column] > threshold][:400]
        kept: list[int] = []
        for k in order:
            if len(kept) < 50 and all(overlap(boxes[k], boxes[j]) <= 0.5 for j in kept):
                kept.append(k)
        found += [(label, float(scores[k, column]), boxes[k].tolist()) for k in kept]
    return sorted(found, key=lambda one: -one[1])[:200]


def overlap(a: Any, b: Any) -> float:
    sides = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    inter = float(sides.prod())
    return inter / float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inter)


@pytest.mark.parametrize("runtime", get_args(Runtime))
def test_a_detector_answers_as_the_reference_does(home: Path, image: NDArray[np.uint8], runtime: Runtime) -> None:
    boxes, scores, labels = Rival(DETECTOR, Setup(runtime, "float32", 1), home)(image)
    module = reference(home)
    session = Rival(DETECTOR, Setup("onnxruntime", "float32", 1), home).session
    as_it_is: dict[str, Any] = {
        "session": lambda _: session,
        "resized": lambda pixels, w, h: np.asarray(Image.fromarray(pixels).resize((w, h), Image.Resampling.BILINEAR)),
        "detections": plain,
    }
    vars(module).update(as_it_is)
    expected = module.Finder()(image)
    assert len(expected) > 10
    assert labels.tolist() == [label for label, _, _ in expected]
    assert np.allclose(scores, [score for _, score, _ in expected], atol=1e-5)
    assert np.allclose(boxes, [box for _, _, box in expected], atol=1e-3)


@pytest.mark.parametrize("runtime", get_args(Runtime))
def test_a_segmenter_and_what_it_was_fed(home: Path, image: NDArray[np.uint8], runtime: Runtime) -> None:
    rival = Rival(SEGMENTER, Setup(runtime, "bfloat16" if runtime == "openvino" else "float32", 1), home)
    found = rival(image)
    assert found.shape == (SIDE, SIDE)
    assert rival.session.fed["image"].shape == (1, 3, SIDE, SIDE)
    rival.session.again()


def test_in_eight_bits(home: Path, image: NDArray[np.uint8], tmp_path: Path) -> None:
    file = quantise(SEGMENTER, [image, image[::-1]], tmp_path / "painter.onnx", home)
    kinds = [node.op_type for node in onnx.load(file).graph.node]
    assert "QuantizeLinear" in kinds
    assert "Cast" not in kinds
    exact = Rival(SEGMENTER, Setup("onnxruntime", "float32", 1), home)(image)
    assert (Rival(SEGMENTER, Setup("onnxruntime", "int8", 1, file), home)(image) == exact).mean() > 0.9


def test_peers_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"peers\.py: the peers are not there; --peers names another folder$"):
        reference(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.title)
def test_the_real_ones_answer_as_their_reference_does(peer: Any) -> None:
    if not HOME.is_dir() or not (SHARED / "data").is_dir():
        pytest.skip("there are no peers and images beside the repository")
    wanted_of = getattr(reference(), peer.name)()
    rival = Rival(peer, Setup("onnxruntime", "float32", 2))
    for path in evenly(SHARED / "data", "val", 4):
        image = np.asarray(Image.open(path).convert("RGB"))
        expected, found = wanted_of(image), rival(image)
        if peer is DEEPLAB:
            assert np.array_equal(found, expected)
            continue
        boxes, scores, labels = found
        assert [reference().VOC[label] for label in labels] == [name for name, _, _ in expected]
        assert np.allclose(scores, [score for _, score, _ in expected], atol=1e-5)
        assert np.allclose(boxes, [box for _, _, box in expected], atol=0.01)
