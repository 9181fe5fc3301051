import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from blitznet.cli.main import main
from blitznet.cli.train import read
from blitznet.nets.blitznet import build
from blitznet.nets.model_files import load_model, save_model
from blitznet.train.config import TrainConfig
from blitznet.train.recipes import finetune, recipe
from support import synthetic_data
from support.cli_datasets import write_voc
from support.small_networks import small_spec


@pytest.mark.parametrize(
    ("words", "config"),
    [
        ([], finetune()),
        (["lite"], recipe("lite").config),
        (["lite", "--steps", "3", "--root", "there"], replace(recipe("lite").config, steps=3, root=Path("there"))),
        (["--data", "a", "b", "--lr", "0.5"], replace(finetune(), data=("a", "b"), lr=0.5)),
        (["table8-refine", "--release"], replace(recipe("table8-refine").config, match_original=True)),
    ],
)
def test_flags_change_a_recipe(words: list[str], config: TrainConfig) -> None:
    assert read(words) == config


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lit"], "there is no recipe 'lit', did you mean 'lite'? (`blitznet recipes` lists them)"),
        (["xyzzy"], "there is no recipe 'xyzzy' (`blitznet recipes` lists them)"),
        ([], "nothing to learn from: give --data FORMAT:ROOT@SPLIT, or a recipe (`blitznet recipes`)"),
        (["lite", "--ema", "2"], "--ema must lie in 0..1, came 2.0"),
    ],
)
def test_mistakes(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *words]) == 2
    assert message in capsys.readouterr().err


def test_own_data_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_model(Path("small.safetensors"), build(small_spec()), small_spec())
    train, val = write_voc("a", count=3), write_voc("b", count=2, seed=1)
    words = ["--model", "small.safetensors", "--data", train, "--val", val, "--steps", "2", "--batch", "2"]
    assert main(["train", *words, "--workers", "0", "--out", "run", "--allow-leaks"]) == 0
    assert capsys.readouterr().out == "model: run/last.safetensors   log, plot and predictions: run\n"
    _, spec = load_model(Path("run/last.safetensors"))
    assert spec.classes == synthetic_data.NAMES
    assert json.loads(Path("run/config.json").read_text())["steps"] == 2
    assert main(["eval", "run", "--data", val, "--threads", "1"]) == 0


def test_only_the_leader_reports(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def train(
        config: TrainConfig, *, watch: Callable[[int, dict[str, float]], None], tell: Callable[[str], None]
    ) -> Path:
        watch(1, {"segmentation": 1.0, "classification": 2.0, "localization": 3.0})
        return Path("model.safetensors")

    monkeypatch.setattr("blitznet.train.loop.train", train)
    monkeypatch.setenv("RANK", "1")
    assert main(["train", "lite"]) == 0
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("RANK", "0")
    assert main(["train", "lite"]) == 0
    assert "model: model.safetensors" in capsys.readouterr().out
