import json
import re
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from blitznet.cli.main import main
from blitznet.cli.train import TrainPipeline, option_docs, read
from blitznet.core.errors import UsageError
from blitznet.nets.blitznet import build
from blitznet.nets.model_files import load_model, save_model
from blitznet.paper.recipes import paper_recipe
from blitznet.pipelines.run import PipelineResult, Score
from blitznet.train.callbacks import TrainCallback
from blitznet.train.config import BASIC_OPTIONS, OPTION_GROUPS, TrainConfig
from blitznet.train.recipes import finetune_config, lite_config
from support import synthetic_data
from support.cli_datasets import write_voc
from support.small_networks import small_spec


@pytest.mark.parametrize(
    ("words", "config"),
    [
        ([], finetune_config()),
        (["lite"], lite_config()),
        (["lite", "--steps", "3", "--root", "sets"], replace(lite_config(), steps=3, root=Path("sets"))),
        (["lite", "--epochs", "3"], replace(lite_config(), epochs=3)),
        (["--data", "a", "b", "--lr", "0.5"], replace(finetune_config(), data=("a", "b"), lr=0.5)),
        (["table8-refine", "--match-original"], replace(paper_recipe("table8-refine").config, match_original=True)),
    ],
)
def test_flags_change_a_recipe(words: list[str], config: TrainConfig) -> None:
    assert read(words) == config


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "3", "--epochs=2"], "--steps, --epochs: expected one of them, got both; remove one"),
        (["lit"], "unknown recipe 'lit'; did you mean 'lite'? (`blitznet recipes` lists all)"),
        (["xyzzy"], "unknown recipe 'xyzzy' (`blitznet recipes` lists all)"),
        ([], "--data: expected at least one training set FORMAT:ROOT@SPLIT, or a recipe, got none"),
        (["lite", "--ema", "2"], "--ema: expected a decay between 0 and 1, got 2.0"),
    ],
)
def test_errors(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
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
    output = capsys.readouterr().out.splitlines()
    assert output[0] == "scores of each class after step 2:"
    table = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output if line.startswith("│")]
    assert {"background", *synthetic_data.NAMES} >= {row[0] for row in table} > {"background"}
    assert re.fullmatch(r"best:  step 2: AP50 area [\d.]+, mIoU [\d.]+", output[-7])
    assert output[-6:] == [
        "model: run/best.safetensors",
        "files: run (last.safetensors, log.jsonl, plot.png, predictions)",
        "next:",
        "  blitznet predict IMAGES --model run",
        f"  blitznet eval run --data {val} --per-class",
        "  blitznet export run",
    ]
    assert main(["train", *words, "--workers", "0", "--out", "run", "--allow-leaks"]) == 0
    assert capsys.readouterr().out.splitlines() == output[-7:], "a complete run is not evaluated again"
    _, spec = load_model(Path("run/last.safetensors"))
    assert spec.classes == synthetic_data.NAMES
    assert json.loads(Path("run/config.json").read_text())["steps"] == 2
    assert main(["eval", "run", "--data", val, "--threads", "1"]) == 0


def test_only_the_main_process_prints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def train(
        config: TrainConfig,
        *,
        callbacks: Sequence[TrainCallback] = (),
        notify: Callable[[str], None] | None = None,
    ) -> Path:
        for callback in callbacks:
            callback.on_step(1, 2, {"loss/segmentation": 1.0, "loss/classification": 2.0, "loss/localization": 3.0})
        return Path("model.safetensors")

    monkeypatch.setattr("blitznet.train.loop.train", train)
    monkeypatch.setenv("RANK", "1")
    assert main(["train", "lite"]) == 0
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("RANK", "0")
    assert main(["train", "lite", "--out", "runs/a b"]) == 0
    output = capsys.readouterr().out
    assert "best:" not in output
    assert "model: runs/a b/last.safetensors\n" in output
    assert "  blitznet export 'runs/a b'\n" in output


def test_help_shows_the_basic_options_on_one_screen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["train", "--help"]) == 0
    output = capsys.readouterr().out
    assert all(f"--{name}" in output for name in BASIC_OPTIONS)
    assert "--freeze" not in output
    assert f"--help-all shows {len(fields(TrainConfig)) - len(BASIC_OPTIONS)} more options" in output
    assert len(output.splitlines()) <= 40


def test_help_all_shows_every_option_in_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "lite", "--help-all"]) == 0
    output = capsys.readouterr().out
    positions = [output.index(f" {group} options ") for group in OPTION_GROUPS]
    assert positions == sorted(positions)
    for field in fields(TrainConfig):
        assert f"--{field.name.replace('_', '-')}" in output, field.name
    assert "Number of optimizer steps. Default: 2300." in " ".join(output.replace("│", " ").split())


def test_every_option_has_help_that_ends_with_its_default() -> None:
    docs = option_docs()
    assert docs.keys() == {field.name for field in fields(TrainConfig)}
    assert [name for name, text in docs.items() if "Default: " not in text] == ["data"]


@pytest.mark.parametrize(
    ("words", "imgsz"), [(["320"], (320, 320)), (["240", "320"], (240, 320)), (["1", "2", "3"], None), (["0"], None)]
)
def test_imgsz(words: list[str], imgsz: tuple[int, int] | None) -> None:
    if imgsz is None:
        with pytest.raises(UsageError, match="--imgsz: expected one or two sizes"):
            read(["--imgsz", *words])
    else:
        assert read(["--imgsz", *words]) == replace(finetune_config(), imgsz=imgsz)


def test_pipeline_options(capsys: pytest.CaptureFixture[str]) -> None:
    options = read(["blitznet300-lite", "--root", "sets", "--threads", "2"])
    expected = TrainPipeline(name="blitznet300-lite", root=Path("sets"), out=Path("runs/blitznet300-lite"), threads=2)
    assert options == expected
    assert main(["train", "blitznet300-lite", "--steps", "3"]) == 2
    assert "--steps" in capsys.readouterr().err
    assert main(["train", "blitznet300-lit"]) == 2
    assert "did you mean 'blitznet300-lite'?" in capsys.readouterr().err


def test_pipeline_prints_scores_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = (Score("ap50_area", 0.55, 0.552, 0.01), Score("miou", 0.5, 0.63, 0.01))
    result = PipelineResult(Path("a.safetensors"), Path("a.onnx"), Path("a.md"), scores)
    monkeypatch.setattr("blitznet.pipelines.run.run_pipeline", lambda pipeline, options: result)
    assert main(["train", "blitznet300-lite"]) == 1
    output = capsys.readouterr().out
    assert "model: a.onnx   weights: a.safetensors   card: a.md" in output
    rows = [line.split() for line in output.splitlines()]
    assert ["ap50_area", "55.0", "55.2"] in rows
    assert ["miou", "50.0", "63.0", "too", "low"] in rows
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["train", "blitznet300-lite"]) == 2
    assert "expected one process" in capsys.readouterr().err
