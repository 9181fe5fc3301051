from pathlib import Path

import numpy as np
import pytest

import blitznet
from blitznet.api import find_model, load
from blitznet.core.errors import ModelError, UsageError
from blitznet.core.models import get_spec
from blitznet.runtime.engine import EngineName
from blitznet.runtime.image_paths import SAMPLES
from support.fake_engines import SPEC, write_onnx
from support.without_torch import python

ENGINES: tuple[EngineName, ...] = ("torch", "torch-compiled")
"""those that want weights"""


def test_public_names_are_sorted_and_there() -> None:
    assert blitznet.__all__ == sorted(blitznet.__all__)
    for name in blitznet.__all__:
        assert getattr(blitznet, name) is not None
        assert name in dir(blitznet)
    with pytest.raises(AttributeError, match="module 'blitznet' has no attribute 'lode'"):
        _ = blitznet.lode


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, blitznet; print([m for m in ('numpy', 'PIL', 'torch', 'onnxruntime') if m in sys.modules])"
    assert python(code) == "[]"


def test_predicting_needs_no_torch(tmp_path: Path) -> None:
    write_onnx(tmp_path / "a.onnx")
    code = "import sys, blitznet; print(len(blitznet.load(sys.argv[1], threads=1)(sys.argv[2])))"
    assert int(python(code, str(tmp_path / "a.onnx"), str(SAMPLES / "cat.jpg"))) > 0


@pytest.mark.parametrize("suffix", [".safetensors", ".pt2"])
def test_a_torch_model_without_torch_is_a_sentence(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.touch()
    code = """
import sys, blitznet
try:
    blitznet.load(sys.argv[1])
except blitznet.MissingExtra as error:
    print(error)
"""
    assert python(code, str(path)) == f"{path}: a {suffix} model needs `pip install 'blitznet[train]'`"


def test_a_file(tmp_path: Path) -> None:
    write_onnx(tmp_path / "a.onnx")
    predictor = load(tmp_path / "a.onnx", threads=1)
    assert predictor.spec == SPEC
    assert predictor(np.zeros((20, 30, 3), np.uint8)).size == (20, 30)


@pytest.mark.parametrize(("files", "expected"), [(("last", "best"), "best"), (("last",), "last")])
def test_a_run_folder(tmp_path: Path, files: tuple[str, ...], expected: str) -> None:
    for name in files:
        (tmp_path / f"{name}.safetensors").touch()
    assert find_model(tmp_path) == tmp_path / f"{expected}.safetensors"


def test_a_named_model_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blitznet.api.WEIGHTS", tmp_path)
    write_onnx(tmp_path / "blitznet300-lite.onnx")
    assert find_model("blitznet300-lite") == tmp_path / "blitznet300-lite.onnx"
    assert find_model("blitznet300-lite", engine="openvino") == tmp_path / "blitznet300-lite.onnx"
    (tmp_path / "blitznet300-lite.safetensors").touch()
    for engine in ENGINES:
        assert find_model("blitznet300-lite", engine=engine) == tmp_path / "blitznet300-lite.safetensors"
    with pytest.raises(ModelError, match=r"^'blitznet300-lit' is neither .* \(blitznet300-lite\); did you mean"):
        find_model("blitznet300-lit")
    with pytest.raises(ModelError, match=r"^'yolo' is neither a file nor a model of the package \(blitznet300-lite\)$"):
        find_model("yolo")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("ssd512", "'ssd512' has no weights in the package; train it with `blitznet train` and give the run's folder"),
        ("gone.onnx", "gone.onnx: there is no such model file"),
        ("runs/gone", "runs/gone: there is no such model file"),
        ("gone.pt2", "gone.pt2: there is no such model file"),
        ("a.pt", "a.pt: expected an .onnx, .openvino, .pt2 or .safetensors file, got '.pt'"),
        ("folder", "folder: there is neither best.safetensors nor last.safetensors in this folder"),
    ],
)
def test_models_that_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.pt").touch()
    with pytest.raises(ModelError) as raised:
        load(model)
    assert str(raised.value) == message


def test_threads_of_a_torch_model(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").touch()
    with pytest.raises(UsageError, match="threads: expected 1 or more, got 0"):
        load(tmp_path / "a.safetensors", threads=0)


@pytest.mark.parametrize("name", ["blitznet300-lite", "blitznet416-lite"])
def test_the_packages_models_see_what_the_samples_show(name: str) -> None:
    predictor = load(name)
    assert predictor.spec.network == get_spec(name).network
    for image, expected in (("astronaut", "person"), ("cat", "cat"), ("photographer", "person")):
        result = predictor(SAMPLES / f"{image}.jpg", min_score=0.5)
        assert expected in {result.class_names[label] for label in result.labels}
        assert result.class_map is not None
        assert (result.class_map == result.class_names.index(expected) + 1).mean() > 0.05
