"""`blitznet reproduce`: the files it writes, runs reused, and mistakes."""

from pathlib import Path

import pytest

from blitznet.cli.main import main
from blitznet.cli.reproduce import Reproduce, make_plan
from blitznet.paper import tables
from support import tiny_models
from support.toy_table import toy_table
from support.training_runs import toy_sets


def test_a_table_from_nothing_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_models.register()
    toy_sets(tmp_path / "sets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(tables._SMALL, "table3", lambda _: toy_table(steps=2))
    words = ["reproduce", "table3", "--root", "sets", "--out", "out", "--seeds", "2"]
    assert main(words) == 0
    said = capsys.readouterr().out
    folder = Path("out/table3-small")
    assert said.splitlines()[0] == "# table3: one task or both"
    assert said.endswith(f"written: {folder}/table3.md, {folder}/table3.csv, {folder}/table3.png\n")
    runs = {path.name for path in folder.iterdir() if path.is_dir()}
    assert runs == {f"{row}-seed{seed}" for row in ("det", "joint", "seg") for seed in (0, 1)}
    assert all((folder / run / "results.jsonl").is_file() for run in runs)
    made = {path: path.read_bytes() for path in folder.glob("table3.*")}
    assert len(made) == 3
    for path in made:
        path.unlink()
    monkeypatch.setattr("blitznet.paper.reproduce.train", None)  # nothing is trained any more
    assert main(words) == 0
    assert capsys.readouterr().out == said
    assert {path: path.read_bytes() for path in folder.glob("table3.*")} == made


def test_every_way_of_making_a_table_has_its_folder() -> None:
    asked = [
        Reproduce(table="table4"),
        Reproduce(table="table4", scale="full", encoder_weights=Path("resnet50.pth")),
        Reproduce(table="table4", protocol="authors"),
        Reproduce(table="table4", mask_fraction=0.25),
        Reproduce(table="table4", mask_fraction=0.25, protocol="authors"),
    ]
    names = ["table4-small", "table4-full", "table4-small-authors", "table4-small-mask_fraction0.25"]
    assert [make_plan(one).folder for one in asked] == [
        Path("runs/tables") / name for name in (*names, "table4-small-mask_fraction0.25-authors")
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table2"], "table2 is scored by VOC2012's test server alone"),
        (["table7"], "table7 says how fast networks are, which is measured, not learned: `blitznet bench MODEL`"),
        (["figure4", "--scale", "full"], "figure4 says how fast networks are"),
        (["table5"], "table5 at the small scale needs COCO's 80 classes"),
        (["table3", "--seeds", "0"], "--seeds must be 1 or more, came 0"),
        (["table3", "--mask_fraction", "0.5"], "--mask_fraction is for table4 at the small scale; leave it out"),
        (["table4", "--mask_fraction", "2"], "--mask_fraction must be above 0 and at most 1, came 2"),
        (["table9"], "table9"),
        (["table4", "--scale", "full"], "--scale full begins with Caffe's ResNet-50, which is not in the package"),
        (["table4", "--encoder-weights", "a.pth"], "--encoder-weights is for --scale full"),
        (["table3", "--root", "nowhere"], "there is no folder nowhere/VOCdevkit/VOC2012"),
    ],
)
def test_mistakes(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", *words]) == 2
    assert message in capsys.readouterr().err
