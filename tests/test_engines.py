"""Every engine computes the same outputs from the same network."""

import io
import json
import pickle
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from blitznet.api import RUN_BY, open_engine, read_model_spec
from blitznet.core.errors import MissingExtra, ModelError, UsageError
from blitznet.core.outputs import OUTPUT_NAMES, Outputs
from blitznet.export.formats import SUFFIXES, Format, export
from blitznet.export.rewrite import rewrite
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
TORCH_COMPILE_WARNING = "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"
"""torch.compile imports a module of torch that warns"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one network in every file format that an engine of the package runs."""
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    net = build(SPEC).eval()
    save_model(folder / "net.safetensors", net, SPEC)
    formats: tuple[Format, ...] = ("onnx", "openvino", "torch")
    for file_format in formats:
        export(net, SPEC, folder / f"net{SUFFIXES[file_format]}", file_format)
    return folder


@pytest.fixture(scope="module")
def expected(files: Path) -> dict[str, NDArray[np.float32]]:
    """Outputs for all images, computed by torch without an engine."""
    torch.manual_seed(0)
    with torch.inference_mode():
        outputs = Deployed(build(SPEC).eval(), SPEC).eval()(torch.from_numpy(IMAGES))
    return {name: output.numpy() for name, output in zip(OUTPUT_NAMES, outputs, strict=True)}


@pytest.fixture(
    scope="module",
    params=[*PAIRS, pytest.param(SLOW, marks=[pytest.mark.slow, pytest.mark.filterwarnings(TORCH_COMPILE_WARNING)])],
    ids=lambda pair: f"{pair[1]} {pair[0]}",
)
def engine(request: pytest.FixtureRequest, files: Path) -> Iterator[Engine]:
    suffix, name = request.param
    threads = torch.get_num_threads()
    yield open_engine(files / f"net{suffix}", engine=name, threads=1, trust=True)
    torch.set_num_threads(threads)


def raw(engine: Engine, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    outputs = engine.run(images)
    assert isinstance(outputs, Outputs)
    arrays = {name: getattr(outputs, name) for name in OUTPUT_NAMES}
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}
    return arrays


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_run_equals_torch(engine: Engine, expected: dict[str, NDArray[np.float32]], batch: int) -> None:
    for name, array in raw(engine, IMAGES[:batch]).items():
        assert array.shape == (batch, *expected[name].shape[1:])
        assert np.abs(array - expected[name][:batch]).max() < 1e-4 * expected[name].std()


def test_run_of_a_batch_equals_single_images(engine: Engine) -> None:
    together = raw(engine, IMAGES)
    for i in range(len(IMAGES)):
        for name, array in raw(engine, IMAGES[i : i + 1]).items():
            assert np.abs(array[0] - together[name][i]).max() < 1e-5 * together[name].std()


@pytest.mark.parametrize(("suffix", "name"), PAIRS)
def test_replicas_in_threads_equal_the_engine(suffix: str, name: EngineName, files: Path) -> None:
    threads = torch.get_num_threads()
    engine = open_engine(files / f"net{suffix}", engine=name, threads=2, trust=True)
    groups = [IMAGES[:1], IMAGES[1:], IMAGES[2:]] * 5
    expected = [raw(engine, images) for images in groups]
    replicas = replicas_of(engine)
    assert len(replicas) == (1 if name == "torch" else 2)
    assert {(replica.name, replica.spec) for replica in replicas} == {(name, SPEC)}
    with ThreadPoolExecutor(len(replicas)) as pool:
        outputs = list(pool.map(lambda replica: [raw(replica, images) for images in groups], replicas))
    for arrays in outputs:
        for a, b in zip(arrays, expected, strict=True):
            assert all(np.abs(a[name] - b[name]).max() < 1e-5 * b[name].std() for name in OUTPUT_NAMES)
    torch.set_num_threads(threads)


def test_calls_of_several_threads_have_the_outputs_of_one(engine: Engine) -> None:
    expected = [raw(engine, IMAGES[:count]) for count in (1, 2)]
    with ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(lambda call: raw(engine, IMAGES[: 1 + call % 2]), range(24)))
    for call, arrays in enumerate(outputs):
        for name, array in expected[call % 2].items():
            assert np.abs(arrays[name] - array).max() <= 1e-5 * array.std()


def test_spec_and_name(engine: Engine, request: pytest.FixtureRequest) -> None:
    assert engine.spec == SPEC
    assert engine.name in request.node.callspec.id


def test_outputs_are_not_overwritten_by_the_next_run(engine: Engine) -> None:
    first = raw(engine, IMAGES[:1])
    before = {name: array.copy() for name, array in first.items()}
    raw(engine, 255 - IMAGES[:1])
    raw(engine, 255 - IMAGES[:2])
    for name, array in first.items():
        np.testing.assert_array_equal(array, before[name])


def test_images_are_not_changed_and_may_be_views(engine: Engine) -> None:
    view = IMAGES[:1, :, ::-1]
    copy = view.copy()
    expected = raw(engine, copy)
    for name, array in raw(engine, view).items():
        np.testing.assert_allclose(array, expected[name], atol=1e-6)
    np.testing.assert_array_equal(view, copy)


@pytest.mark.parametrize(("suffix", "name"), [*PAIRS, SLOW])
def test_broken_files(suffix: str, name: EngineName, files: Path, tmp_path: Path) -> None:
    complete = (files / f"net{suffix}").read_bytes()
    for index, content in enumerate((b"", b"this is text", complete[: len(complete) // 2])):
        path = tmp_path / f"{index}{suffix}"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=rf"^{path}: ") as raised:
            open_engine(path, engine=name, trust=True)
        assert "\n" not in str(raised.value)
    with pytest.raises(ModelError, match=rf"gone{suffix}: expected a model file, got a path that does not exist$"):
        open_engine(tmp_path / f"gone{suffix}", engine=name)


@pytest.mark.parametrize(("suffix", "name"), [*PAIRS, SLOW])
def test_invalid_threads(suffix: str, name: EngineName, files: Path) -> None:
    with pytest.raises(UsageError, match=r"^threads: expected 1 or more, got 0$"):
        open_engine(files / f"net{suffix}", engine=name, threads=0)


@pytest.mark.parametrize(
    ("suffix", "name", "expected"),
    [
        (".onnx", "torch", "onnxruntime, openvino, onnxruntime-cuda or onnxruntime-tensorrt"),
        (".onnx", "torch-compiled", "onnxruntime, openvino, onnxruntime-cuda or onnxruntime-tensorrt"),
        (".openvino", "onnxruntime", "openvino"),
        (".pt2", "torch-compiled", "torch"),
        (".safetensors", "openvino", "torch or torch-compiled"),
    ],
)
def test_engines_that_do_not_run_the_file(suffix: str, name: EngineName, expected: str, files: Path) -> None:
    with pytest.raises(UsageError) as raised:
        open_engine(files / f"net{suffix}", engine=name)
    message = f"{files / f'net{suffix}'}: expected the engine {expected} for a {suffix} file, got {name}; "
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("suffix", "expected"),
    [(".onnx", "openvino"), (".openvino", "openvino"), (".pt2", "torch"), (".safetensors", "torch")],
)
def test_auto_is_the_fastest_engine(suffix: str, expected: str, files: Path) -> None:
    assert open_engine(files / f"net{suffix}", trust=True).name == expected
    assert set(RUN_BY) == {suffix for suffix, _ in PAIRS}


def test_a_torch_program_needs_trust(files: Path) -> None:
    with pytest.raises(ModelError, match=r"net\.pt2: .* may run code of its author with your rights .* add --trust"):
        open_engine(files / "net.pt2")
    assert read_model_spec(files / "net.pt2") == read_model_spec(files / "net.onnx") == SPEC


def test_parts_of_a_torch_program_that_run_code_are_refused_even_with_trust(files: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    parts = read_parts(files / "net.pt2")
    weights, model, inputs = (
        next(name for name in parts if name.endswith(end))
        for end in ("model_weights_config.json", "models/model.json", "sample_inputs/model.pt")
    )
    config = json.loads(parts[weights])
    first = next(iter(config["config"].values()))
    first["use_pickle"] = True
    pickled = io.BytesIO()
    torch.save(Marker(marker), pickled)
    path = weights.rpartition("/")[0] + "/" + first["path_name"]
    guarded = {**json.loads(parts[model]), "guards_code": [f"open({str(marker)!r}, 'w') is not None"]}
    for changed in (
        {weights: json.dumps(config).encode(), path: pickled.getvalue()},
        {inputs: pickle.dumps(Marker(marker))},
        {inputs: pickled.getvalue()},
        {model: json.dumps(guarded).encode()},
    ):
        file = tmp_path / "evil.pt2"
        with ZipFile(file, "w") as archive:
            for name, content in {**parts, **changed}.items():
                archive.writestr(name, content)
        with pytest.raises(ModelError, match=r"evil\.pt2: ") as raised:
            open_engine(file, trust=True)
        assert "\n" not in str(raised.value)
        assert read_model_spec(file) == SPEC
        assert not marker.exists()


class Marker:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def read_parts(path: Path) -> dict[str, bytes]:
    with ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize(
    ("suffix", "name"), [(".onnx", "onnxruntime"), (".onnx", "openvino"), (".openvino", "openvino")]
)
@pytest.mark.parametrize("change", ["size", "classes", "anchors"])
def test_a_spec_that_does_not_fit_the_file_is_refused(
    suffix: str, name: EngineName, change: str, files: Path, tmp_path: Path
) -> None:
    changed = {
        "size": replace(SPEC, size=(96, 96)),
        "classes": replace(SPEC, classes=("a",)),
        "anchors": replace(SPEC, anchors=replace(SPEC.anchors, ratios=())),
    }[change]
    rewrite(files / f"net{suffix}", changed, tmp_path / f"other{suffix}")
    message = rf"other{suffix}: expected \w+ of shape \(.*\) by its spec, got \(.*\); export the model again$"
    with pytest.raises(ModelError, match=message):
        open_engine(tmp_path / f"other{suffix}", engine=name)


def test_auto_without_openvino(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blitznet.api.find_spec", lambda name: None)
    assert open_engine(files / "net.onnx").name == "onnxruntime"
    monkeypatch.setitem(sys.modules, "openvino", None)
    for path in (files / "net.onnx", files / "net.openvino"):
        with pytest.raises(MissingExtra, match=r"^the engine openvino needs `pip install 'blitznet\[openvino\]'`$"):
            open_engine(path, engine="openvino")


def test_unknown_engine(files: Path) -> None:
    with pytest.raises(UsageError, match=r"^engine: expected one of auto, onnxruntime, .*, got 'tflite'$"):
        open_engine(files / "net.onnx", engine="tflite")  # type: ignore[arg-type]
