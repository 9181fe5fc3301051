from pathlib import Path

import pytest

from blitznet.cli.main import main
from support import synthetic_data
from support.cli_datasets import write_voc


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_set_becomes_another_that_can_be_opened(capsys: pytest.CaptureFixture[str]) -> None:
    synthetic_data.write_coco(Path("coco"), synthetic_data.draw(3), "val")
    call = ["data", "convert", "coco:coco@val", "--to", "coco", "--out", "new"]
    assert main(call) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "3 images: coco:new@val"
    assert main(["data", "check", "coco:new@val"]) == 0
    assert main([*call, "--split", "test", "--link"]) == 0
    assert next(Path("new/test").iterdir()).is_symlink()


def test_what_would_be_lost_stops_it_and_may_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    call = ["data", "convert", write_voc(), "--to", "yolo", "--out", "new"]
    assert main(call) == 2
    said = capsys.readouterr().err
    assert said.startswith("blitznet: error: voc:voc@train: yolo would lose class maps, which do not say which pixels")
    assert said.rstrip().endswith("give --lossy to leave that out")
    assert main([*call, "--lossy"]) == 0
    assert "left out of 4 images: class maps" in capsys.readouterr().out
    assert len([*Path("new/labels/train").iterdir()]) == 4


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["voc:voc@train,classes=ell", "--out", "new"], "classes, void and weight are for training; leave them out"),
        (["voc:voc@train", "--out", "voc"], "--out voc: that is where the set lies; give another folder"),
        (["voc:nowhere@train", "--out", "new"], "there is no folder nowhere"),
    ],
)
def test_mistakes(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_voc()
    assert main(["data", "convert", *words, "--to", "voc"]) == 2
    assert told in capsys.readouterr().err
