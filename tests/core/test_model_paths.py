import os
import re
from pathlib import Path

import pytest

from blitznet.core.errors import ModelError, UsageError
from blitznet.core.model_paths import find_model, find_weights
from support.packaged_models import replace_packaged


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with the files of one model."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for suffix in (".onnx", ".safetensors"):
        (folder / f"blitznet300-lite{suffix}").touch()
    replace_packaged(monkeypatch, folder)
    monkeypatch.chdir(tmp_path)
    return folder


def test_find_model_by_name(package: Path) -> None:
    assert find_model("blitznet300-lite") == package / "blitznet300-lite.onnx"
    assert find_model("blitznet300-lite", suffix=".safetensors") == package / "blitznet300-lite.safetensors"
    assert find_weights("blitznet300-lite") == package / "blitznet300-lite.safetensors"


@pytest.mark.parametrize(("names", "expected"), [(("last", "best"), "best"), (("last",), "last")])
def test_find_model_in_a_run_folder(tmp_path: Path, names: tuple[str, ...], expected: str) -> None:
    (tmp_path / "run").mkdir()
    for name in names:
        (tmp_path / "run" / f"{name}.safetensors").touch()
    for find in (find_model, find_weights):
        assert find(tmp_path / "run") == tmp_path / "run" / f"{expected}.safetensors"


def test_find_model_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").touch()
    assert find_model("a.onnx") == Path("a.onnx")
    with pytest.raises(UsageError, match=r"^a\.onnx: expected a \.safetensors file or a run folder, got '\.onnx'$"):
        find_weights("a.onnx")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "ssd512",
            "ssd512: the package has no weights of this model; train it with `blitznet train --model ssd512 "
            "--init encoder`, or give a file or a run folder",
        ),
        ("gone.onnx", "gone.onnx: expected a model file, got a path that does not exist"),
        ("runs/gone", "runs/gone: expected a model file, got a path that does not exist"),
        ("gone.pt2", "gone.pt2: expected a model file, got a path that does not exist"),
        ("folder", "folder: expected best.safetensors or last.safetensors in this folder, got neither"),
        ("yolo", "expected a file or a model in the package (blitznet300-lite), got 'yolo'"),
        (
            "blitznet300-lit",
            "expected a file or a model in the package (blitznet300-lite), got 'blitznet300-lit'; "
            "did you mean 'blitznet300-lite'?",
        ),
    ],
)
def test_models_that_do_not_exist(tmp_path: Path, model: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    for find in (find_model, find_weights):
        with pytest.raises(ModelError) as raised:
            find(model)
        assert str(raised.value) == message


@pytest.mark.parametrize("name", ["blitznet300", "blitznet", "blitznet512-s8x", "blitznet300_lite"])
def test_the_hint_is_a_model_with_weights(name: str) -> None:
    with pytest.raises(ModelError) as raised:
        find_model(name)
    hint = re.search(r"did you mean '([^']*)'", str(raised.value))
    assert hint is None or find_model(hint[1]).is_file()
    assert hint is not None or name == "blitznet512-s8x"


def test_a_pipe_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.safetensors")
    for find in (find_model, find_weights):
        with pytest.raises(ModelError, match=r"a\.safetensors: cannot be opened \(expected a file, got a pipe"):
            find(tmp_path / "a.safetensors")
