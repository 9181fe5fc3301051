from pathlib import Path

import pytest
import torch

from blitznet.cli.main import main
from blitznet.nets.blitznet import build
from blitznet.nets.model_files import load_model, save_model
from support.small_networks import small_spec


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a run and a model file."""
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    for seed, path in enumerate(("run/last.safetensors", "other.safetensors")):
        torch.manual_seed(seed)
        save_model(Path(path), build(small_spec()), small_spec())
    return tmp_path


def test_soup_averages_a_run_and_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["soup", "run", "other.safetensors", "--weights", "1", "3", "--out", "mean.safetensors"]) == 0
    size = Path("mean.safetensors").stat().st_size
    assert capsys.readouterr().out == f"model: mean.safetensors ({size / 1e6:.1f} MB)   small, average of 2 models\n"
    paths = ("run/last.safetensors", "other.safetensors", "mean.safetensors")
    first, second, mean = (next(load_model(Path(path))[0].parameters()) for path in paths)
    torch.testing.assert_close(mean, first / 4 + second * 3 / 4)
    assert main(["soup", "run", "other.safetensors", "--half", "--out", "half.safetensors"]) == 0
    assert Path("half.safetensors").stat().st_size < 0.6 * size


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "two or more models to average, got 1"),
        (["run", "other.safetensors", "--weights", "1"], "--weights: expected a number above 0 for each of the 2"),
        (["run", "gone.safetensors"], "gone.safetensors"),
        (["run", "other.safetensors", "--out", "other.safetensors"], "expected a new file, got one of the models"),
        (
            ["run", "other.safetensors", "--out", "mean.onnx"],
            "expected a file that ends in .safetensors, got mean.onnx",
        ),
    ],
)
def test_errors_are_one_line(folder: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["soup", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("soup.safetensors").exists()
