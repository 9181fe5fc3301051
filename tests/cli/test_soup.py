from pathlib import Path

import pytest
import torch

from blitznet.cli.main import main
from blitznet.nets.blitznet import build
from blitznet.nets.model_files import load_model, save_model
from support.small_networks import small_spec


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a run and a file."""
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    for seed, path in enumerate(("run/last.safetensors", "other.safetensors")):
        torch.manual_seed(seed)
        save_model(Path(path), build(small_spec()), small_spec())
    return tmp_path


def test_a_run_and_a_file_become_one_model(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["average", "run", "other.safetensors", "--shares", "1", "3", "--out", "mean.safetensors"]) == 0
    size = Path("mean.safetensors").stat().st_size
    assert capsys.readouterr().out == f"model: mean.safetensors ({size / 1e6:.1f} MB)   small, average of 2 models\n"
    paths = ("run/last.safetensors", "other.safetensors", "mean.safetensors")
    one, other, mean = (next(load_model(Path(path))[0].parameters()) for path in paths)
    torch.testing.assert_close(mean, one / 4 + other * 3 / 4)
    assert main(["average", "run", "other.safetensors", "--half", "--out", "half.safetensors"]) == 0
    assert Path("half.safetensors").stat().st_size < 0.6 * size


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], "two models or more, came 1"),
        (["run", "gone.safetensors"], "gone.safetensors"),
        (["run", "other.safetensors", "--out", "other.safetensors"], "is one of the models that are averaged"),
        (
            ["run", "other.safetensors", "--out", "mean.onnx"],
            "expected a file that ends in .safetensors, got mean.onnx",
        ),
    ],
)
def test_misuse_is_one_line(place: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["average", *words]) == 2
    assert said in capsys.readouterr().err
    assert not Path("average.safetensors").exists()
