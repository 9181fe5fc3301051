from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from blitznet.api import load
from blitznet.cli.main import main
from blitznet.core.classes import VOC
from blitznet.core.spec import Spec
from support.golden_files import FOLDER

NAME = "blitznet300-s8"
Arrays = dict[str, NDArray[Any]]


def zeros(*, boxes: bool = True, num_classes: int = 21) -> Arrays:
    """A checkpoint's variables, all zero, as views of one number."""
    value = np.zeros((), np.float32)
    arrays = {}
    for line in (FOLDER / "blitznet300_s8.txt").read_text().splitlines():
        name, shape = line.split()
        lengths = [int(length) for length in shape.split("x")]
        if name.startswith(("ssd/Conv_6/", "ssd/confidence/")):
            lengths[-1] = lengths[-1] // 21 * num_classes
        if boxes or not name.startswith(("ssd/location", "ssd/confidence")):
            arrays[name] = np.broadcast_to(value, lengths)
    return arrays


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder in which every checkpoint is zero."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("blitznet.nets.convert_weights.read_variables", lambda path: zeros())
    return tmp_path


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[Spec]:
    """The specs of the models; their files, of 234 MB each, are not written."""
    specs: list[Spec] = []

    def save(path: Path, net: object, spec: Spec) -> None:
        path.touch()
        specs.append(spec)

    monkeypatch.setattr("blitznet.nets.model_files.save_model", save)
    return specs


def test_convert_weights_writes_a_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert-weights", "ckpt.npz", "--model", NAME]) == 0
    expected = f"model: {NAME}.safetensors (233.8 MB)   {NAME}, 20 classes, resizing as the original\n"
    assert capsys.readouterr().out == expected
    predictor = load(f"{NAME}.safetensors")
    Path(f"{NAME}.safetensors").unlink()
    spec = predictor.spec
    assert (spec.classes, spec.tasks) == (VOC, ("detection", "segmentation"))
    assert (spec.network.fusion_resize, spec.network.segmentation_resize) == ("legacy", "nearest")
    assert spec.provenance == "converted from the checkpoint ckpt.npz"


def test_no_match_original_keeps_our_resizing(folder: Path, saved: list[Spec]) -> None:
    words = ["convert-weights", "ckpt.npz", "--model", NAME, "--no-match-original", "--out", "deep/a.safetensors"]
    assert main(words) == 0
    assert Path("deep/a.safetensors").is_file()
    assert (saved[0].network.fusion_resize, saved[0].network.segmentation_resize) == ("bilinear", "bilinear")


def test_classes_and_tasks_of_the_checkpoint(folder: Path, saved: list[Spec], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.txt").write_text("cat\ndog\n")
    monkeypatch.setattr("blitznet.nets.convert_weights.read_variables", lambda path: zeros(boxes=False, num_classes=3))
    words = ["convert-weights", "a.npz", "--model", NAME, "--classes", "mine.txt", "--tasks", "segmentation"]
    assert main(words) == 0
    assert (saved[0].classes, saved[0].tasks) == (("cat", "dog"), ("segmentation",))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.npz", "--model", "ssd999"], "expected a model from blitznet300-coco, "),
        (["a.npz", "--model", "ssd300"], "ssd300: expected a ResSkip network on resnet50-caffe, got ssd"),
        (["a.npz", "--model", NAME, "--classes", "gone.txt"], "gone.txt: "),
        (["a.npz", "--model", NAME, "--classes", "coco"], "ssd/confidence/"),
        (["a.npz", "--model", "blitznet300-s4"], "the checkpoint: expected "),
        (["a.npz", "--model", NAME, "--out", "a.onnx"], "--out: expected a file that ends in .safetensors, got a.onnx"),
    ],
)
def test_errors_are_one_line(words: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert-weights", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"blitznet: error: {message}")
    assert error.count("\n") == 1


def test_a_missing_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert-weights", str(tmp_path / "gone.npz"), "--model", NAME]) == 2
    assert "gone.npz: expected variables as .npz or .safetensors, got an unreadable file" in capsys.readouterr().err


def test_model_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert-weights", "a.npz"]) == 2
    assert "--model" in capsys.readouterr().err
