"""What every engine promises, asked of each with the same network."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from blitznet.api import RUN_BY, open_engine
from blitznet.core.errors import MissingExtra, ModelError, UsageError
from blitznet.core.outputs import Outputs
from blitznet.export.formats import SUFFIXES, export
from blitznet.nets.blitznet import build
from blitznet.nets.deploy import Deployed
from blitznet.nets.model_files import save_model
from blitznet.runtime.engine import Engine, EngineName, replicas_of
from support.small_networks import small_spec

SPEC = small_spec()
IMAGES = np.random.default_rng(0).integers(0, 256, (3, *SPEC.size, 3), np.uint8)
PAIRS: list[tuple[str, EngineName]] = [
    (".onnx", "onnxruntime"),
    (".onnx", "openvino"),
    (".openvino", "openvino"),
    (".pt2", "torch"),
    (".safetensors", "torch"),
]
SLOW: tuple[str, EngineName] = (".safetensors", "torch-compiled")
TORCHS_OWN = "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"
"""torch.compile imports what torch itself warns of"""
NAMES = ("offsets", "logits", "class_map")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one network in every kind of file."""
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    net = build(SPEC).eval()
    save_model(folder / "net.safetensors", net, SPEC)
    for form, suffix in SUFFIXES.items():
        export(net, SPEC, folder / f"net{suffix}", form)
    return folder


@pytest.fixture(scope="module")
def expected(files: Path) -> dict[str, NDArray[np.float32]]:
    """The answers to all images, by torch itself."""
    torch.manual_seed(0)
    with torch.inference_mode():
        given = Deployed(build(SPEC).eval(), SPEC).eval()(torch.from_numpy(IMAGES))
    return {name: answer.numpy() for name, answer in zip(NAMES, given, strict=True)}


@pytest.fixture(
    scope="module",
    params=[*PAIRS, pytest.param(SLOW, marks=[pytest.mark.slow, pytest.mark.filterwarnings(TORCHS_OWN)])],
    ids=lambda pair: f"{pair[1]} {pair[0]}",
)
def engine(request: pytest.FixtureRequest, files: Path) -> Iterator[Engine]:
    suffix, name = request.param
    threads = torch.get_num_threads()
    yield open_engine(files / f"net{suffix}", engine=name, threads=1)
    torch.set_num_threads(threads)


def raw(engine: Engine, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    outputs = engine.run(images)
    assert isinstance(outputs, Outputs)
    arrays = {name: getattr(outputs, name) for name in NAMES}
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}
    return arrays


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_answers_are_those_of_torch(engine: Engine, expected: dict[str, NDArray[np.float32]], batch: int) -> None:
    for name, array in raw(engine, IMAGES[:batch]).items():
        assert array.shape == (batch, *expected[name].shape[1:])
        assert np.abs(array - expected[name][:batch]).max() < 1e-4 * expected[name].std()


def test_alone_or_in_a_batch_is_the_same(engine: Engine) -> None:
    together = raw(engine, IMAGES)
    for i in range(len(IMAGES)):
        for name, array in raw(engine, IMAGES[i : i + 1]).items():
            assert np.abs(array[0] - together[name][i]).max() < 1e-5 * together[name].std()


@pytest.mark.parametrize(("suffix", "name"), PAIRS)
def test_lanes_that_run_at_once_answer_as_the_whole_does(suffix: str, name: EngineName, files: Path) -> None:
    threads = torch.get_num_threads()
    whole = open_engine(files / f"net{suffix}", engine=name, threads=2)
    groups = [IMAGES[:1], IMAGES[1:], IMAGES[2:]] * 5
    expected = [raw(whole, images) for images in groups]
    lanes = replicas_of(whole)
    assert len(lanes) == (1 if name == "torch" else 2)
    assert {(lane.name, lane.spec) for lane in lanes} == {(name, SPEC)}
    with ThreadPoolExecutor(len(lanes)) as pool:
        answers = list(pool.map(lambda lane: [raw(lane, images) for images in groups], lanes))
    for given in answers:
        for one, other in zip(given, expected, strict=True):
            assert all(np.abs(one[key] - other[key]).max() < 1e-5 * other[key].std() for key in NAMES)
    torch.set_num_threads(threads)


def test_it_says_what_it_is(engine: Engine, request: pytest.FixtureRequest) -> None:
    assert engine.spec == SPEC
    assert engine.name in request.node.callspec.id


def test_answers_stay_when_the_next_come(engine: Engine) -> None:
    first = raw(engine, IMAGES[:1])
    before = {name: array.copy() for name, array in first.items()}
    raw(engine, 255 - IMAGES[:1])
    raw(engine, 255 - IMAGES[:2])
    for name, array in first.items():
        np.testing.assert_array_equal(array, before[name])


def test_images_are_not_written_to_and_may_be_any_view(engine: Engine) -> None:
    turned = IMAGES[:1, :, ::-1]
    kept = turned.copy()
    given, plain = raw(engine, turned), raw(engine, kept)
    for name, array in given.items():
        np.testing.assert_allclose(array, plain[name], atol=1e-6)
    np.testing.assert_array_equal(turned, kept)


@pytest.mark.parametrize(("suffix", "name"), [*PAIRS, SLOW])
def test_files_that_are_broken(suffix: str, name: EngineName, files: Path, tmp_path: Path) -> None:
    whole = (files / f"net{suffix}").read_bytes()
    for number, content in enumerate((b"", b"this is text", whole[: len(whole) // 2])):
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=rf"^{path}: ") as raised:
            open_engine(path, engine=name)
        assert "\n" not in str(raised.value)
    with pytest.raises(ModelError, match=rf"gone{suffix}: there is no such model file$"):
        open_engine(tmp_path / f"gone{suffix}", engine=name)


@pytest.mark.parametrize(("suffix", "name"), [*PAIRS, SLOW])
def test_threads_that_cannot_be(suffix: str, name: EngineName, files: Path) -> None:
    with pytest.raises(UsageError, match=r"^threads: expected 1 or more, got 0$"):
        open_engine(files / f"net{suffix}", engine=name, threads=0)


@pytest.mark.parametrize(
    ("suffix", "name", "expected"),
    [
        (".onnx", "torch", "torch does not run .onnx files; "),
        (".onnx", "torch-compiled", "torch-compiled does not run .onnx files; "),
        (".openvino", "onnxruntime", "onnxruntime does not run .openvino files; openvino does"),
        (".pt2", "torch-compiled", "torch-compiled does not run .pt2 files; torch does"),
        (".safetensors", "openvino", "openvino does not run .safetensors files; torch or torch-compiled does"),
    ],
)
def test_engines_that_do_not_run_a_file(suffix: str, name: EngineName, expected: str, files: Path) -> None:
    with pytest.raises(UsageError) as raised:
        open_engine(files / f"net{suffix}", engine=name)
    assert str(raised.value).startswith(f"{files / f'net{suffix}'}: {expected}")


@pytest.mark.parametrize(
    ("suffix", "expected"),
    [(".onnx", "openvino"), (".openvino", "openvino"), (".pt2", "torch"), (".safetensors", "torch")],
)
def test_auto_takes_the_fastest(suffix: str, expected: str, files: Path) -> None:
    assert open_engine(files / f"net{suffix}").name == expected
    assert set(RUN_BY) == {suffix for suffix, _ in PAIRS}


def test_auto_without_openvino(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blitznet.api.find_spec", lambda name: None)
    assert open_engine(files / "net.onnx").name == "onnxruntime"
    monkeypatch.setitem(sys.modules, "openvino", None)
    for path in (files / "net.onnx", files / "net.openvino"):
        with pytest.raises(MissingExtra, match=r"^the engine openvino needs `pip install 'blitznet\[openvino\]'`$"):
            open_engine(path, engine="openvino")


def test_an_engine_there_is_not(files: Path) -> None:
    with pytest.raises(UsageError, match=r"^engine: expected one of auto, onnxruntime, .*, got 'tflite'$"):
        open_engine(files / "net.onnx", engine="tflite")  # type: ignore[arg-type]
