"""`blitznet reproduce`: files, reused runs, errors."""

from pathlib import Path

import pytest

from blitznet.cli.main import main
from blitznet.cli.reproduce import Reproduce, make_plan
from blitznet.paper import tables
from support import tiny_models
from support.toy_table import toy_table
from support.training_runs import toy_sets


@pytest.mark.slow
def test_reproduce_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_models.register()
    toy_sets(tmp_path / "sets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(tables._SMALL, "table3", lambda _: toy_table(steps=2))
    words = ["reproduce", "table3", "--root", "sets", "--out", "out", "--seeds", "2"]
    assert main(words) == 0
    output = capsys.readouterr().out
    folder = Path("out/table3-small")
    assert output.splitlines()[0] == "# table3: one task or both"
    assert output.endswith(f"written: {folder}/table3.md, {folder}/table3.csv, {folder}/table3.png\n")
    runs = {path.name for path in folder.iterdir() if path.is_dir()}
    assert runs == {f"{row}-seed{seed}" for row in ("det", "joint", "seg") for seed in (0, 1)}
    assert all((folder / run / "results.jsonl").is_file() for run in runs)
    files = {path: path.read_bytes() for path in folder.glob("table3.*")}
    assert len(files) == 3
    for path in files:
        path.unlink()
    monkeypatch.setattr("blitznet.paper.reproduce.train", None)  # nothing is trained again
    assert main(words) == 0
    assert capsys.readouterr().out == output
    assert {path: path.read_bytes() for path in folder.glob("table3.*")} == files


def test_every_combination_has_its_folder() -> None:
    options = [
        Reproduce(table="table4"),
        Reproduce(table="table4", scale="full", encoder_weights=Path("resnet50.pth")),
        Reproduce(table="table4", protocol="authors"),
        Reproduce(table="table4", mask_fraction=0.25),
        Reproduce(table="table4", mask_fraction=0.25, protocol="authors"),
    ]
    names = ["table4-small", "table4-full", "table4-small-authors", "table4-small-masks0.25"]
    assert [make_plan(option).folder for option in options] == [
        Path("runs/tables") / name for name in (*names, "table4-small-masks0.25-authors")
    ]


def test_machine_options_are_those_of_the_flags() -> None:
    assert make_plan(Reproduce(table="table3")).machine == {"device": "auto", "accumulate": 1}
    options = Reproduce(table="table3", workers=2, device="cpu", accumulate=4)
    assert make_plan(options).machine == {"workers": 2, "device": "cpu", "accumulate": 4}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table2"], "table2 is scored by the VOC2012 test server only"),
        (["table7"], "table7 measures speed, not accuracy; run `blitznet bench MODEL`"),
        (["figure4", "--scale", "full"], "figure4 measures speed"),
        (["table5"], "table5 at the small scale needs more than a few hundred images"),
        (["table3", "--seeds", "0"], "--seeds: expected 1 or more, got 0"),
        (["table3", "--mask-fraction", "0.5"], "--mask-fraction: expected table4 at the small scale"),
        (["table4", "--mask-fraction", "2"], "--mask-fraction: expected a number above 0 and at most 1, got 2"),
        (["table9"], "table9"),
        (["table4", "--scale", "full"], "--scale full: expected Caffe's ResNet-50 weights, got none"),
        (["table4", "--encoder-weights", "a.pth"], "--encoder-weights: expected --scale full"),
        (["table3", "--root", "nowhere"], "expected the folder nowhere/VOCdevkit/VOC2012"),
    ],
)
def test_errors(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", *words]) == 2
    assert message in capsys.readouterr().err
