from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import blitznet
from blitznet.api import load, model_file
from blitznet.core.errors import ModelError, UsageError
from blitznet.core.models import get_spec
from blitznet.runtime.engine import EngineName
from blitznet.runtime.image_paths import SAMPLES
from support.fake_engines import SPEC, write_onnx
from support.packaged_models import replace_packaged
from support.without_torch import python


def test_public_names_exist_and_are_sorted() -> None:
    assert blitznet.__all__ == sorted(blitznet.__all__)
    for name in blitznet.__all__:
        assert getattr(blitznet, name) is not None
        assert name in dir(blitznet)
    with pytest.raises(AttributeError, match="module 'blitznet' has no attribute 'lode'"):
        _ = blitznet.lode


def test_import_loads_no_dependency() -> None:
    code = "import sys, blitznet; print([m for m in ('numpy', 'PIL', 'torch', 'onnxruntime') if m in sys.modules])"
    assert python(code) == "[]"


def test_every_public_name_is_there_without_extras() -> None:
    code = """
import sys
extras = 'av defusedxml faster_coco_eval fsspec pyarrow starlette supervision trackers yaml'
for name in extras.split():
    sys.modules[name] = None
import blitznet
for name in blitznet.__all__:
    getattr(blitznet, name)
for call in (lambda: blitznet.Tracker(25), lambda: blitznet.open_video('clip.mp4')):
    try:
        call()
    except blitznet.MissingExtra as error:
        print(error)
"""
    assert python(code).splitlines() == [
        "`blitznet.Tracker` needs `pip install 'blitznet[track]'`",
        "`blitznet.open_video` needs `pip install 'blitznet[video]'`",
    ]


def test_prediction_needs_no_torch(tmp_path: Path) -> None:
    write_onnx(tmp_path / "a.onnx")
    code = "import sys, blitznet; print(len(blitznet.load(sys.argv[1], threads=1)(sys.argv[2])))"
    assert int(python(code, str(tmp_path / "a.onnx"), str(SAMPLES / "cat.jpg"))) > 0


@pytest.mark.parametrize("suffix", [".safetensors", ".pt2"])
def test_torch_model_without_torch_is_a_missing_extra(tmp_path: Path, suffix: str) -> None:
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


def test_load_of_a_file(tmp_path: Path) -> None:
    write_onnx(tmp_path / "a.onnx")
    predictor = load(tmp_path / "a.onnx", threads=1)
    assert predictor.spec == SPEC
    assert predictor(np.zeros((20, 30, 3), np.uint8)).size == (20, 30)


def test_model_file_of_each_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in (".onnx", ".safetensors"):
        (tmp_path / f"blitznet300-lite{suffix}").touch()
    replace_packaged(monkeypatch, tmp_path)
    for engine in get_args(EngineName):
        suffix = ".safetensors" if engine in ("torch", "torch-compiled") else ".onnx"
        assert model_file("blitznet300-lite", engine) == tmp_path / f"blitznet300-lite{suffix}"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("gone.onnx", "gone.onnx: expected a model file, got a path that does not exist"),
        ("a.pt", "a.pt: expected an .onnx, .openvino, .pt2 or .safetensors file, got '.pt'"),
        (
            "blitznet300-lite.onnx",
            "blitznet300-lite.onnx: expected a model file, got a path that does not exist; "
            "did you mean the name 'blitznet300-lite'?",
        ),
        ("folder", "folder: expected best.safetensors or last.safetensors in this folder, got neither"),
    ],
)
def test_load_of_models_that_do_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.pt").touch()
    with pytest.raises(ModelError) as raised:
        load(model)
    assert str(raised.value) == message


def test_load_checks_threads(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").touch()
    wrong: list[Any] = [0, "2", 1.5]
    for threads in wrong:
        with pytest.raises(UsageError, match=f"threads: expected 1 or more, got {threads!r}"):
            load(tmp_path / "a.safetensors", threads=threads)


@pytest.mark.parametrize("name", ["blitznet300-lite", "blitznet416-lite"])
def test_packaged_models_detect_the_samples(name: str) -> None:
    predictor = load(name)
    spec, named = predictor.spec, get_spec(name)
    assert (spec.name, spec.size, spec.classes, spec.anchors) == (named.name, named.size, named.classes, named.anchors)
    for image, expected in (("astronaut", "person"), ("cat", "cat"), ("photographer", "person")):
        result = predictor(SAMPLES / f"{image}.jpg", min_score=0.5)
        assert expected in {result.class_names[label] for label in result.labels}
        assert result.class_map is not None
        assert (result.class_map == result.class_names.index(expected) + 1).mean() > 0.05


def test_load_with_tta_and_slices() -> None:
    predictor = load(tta="flip", slices=(1, 2), threads=1)
    assert isinstance(predictor, blitznet.SlicedPredictor)
    assert isinstance(predictor.engine, blitznet.FlipTTA)
    with pytest.raises(UsageError, match=r"^tta: expected 'flip' or None, got 'rotate'$"):
        load(tta="rotate")  # type: ignore[arg-type]


@pytest.mark.parametrize("model", [None, 3, ""])
def test_load_of_what_is_no_model(model: Any) -> None:
    with pytest.raises(ModelError, match=f"^model: expected a name, a file or the folder of a run, got {model!r}$"):
        load(model)


def test_names_of_others_lead_to_ours() -> None:
    with pytest.raises(AttributeError, match=r"has no attribute 'predict'; blitznet\.load\(\) returns a predictor$"):
        _ = blitznet.predict
    assert not {"Any", "TYPE_CHECKING"} & set(dir(blitznet))
