from pathlib import Path

import pytest

from blitznet.cli.main import main
from support import synthetic_data
from support.cli_datasets import write_voc


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_converted_dataset_can_be_opened(capsys: pytest.CaptureFixture[str]) -> None:
    synthetic_data.write_coco(Path("coco"), synthetic_data.draw(3), "val")
    words = ["data", "convert", "coco:coco@val", "--to", "coco", "--out", "new"]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "3 images: coco:new@val"
    assert main(["data", "check", "coco:new@val"]) == 0
    assert main([*words, "--split", "test", "--link"]) == 0
    assert next(Path("new/test").iterdir()).is_symlink()


def test_losses_are_refused_without_lossy(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "convert", write_voc(), "--to", "yolo", "--out", "new"]
    assert main(words) == 2
    message = capsys.readouterr().err
    assert message.startswith(
        "blitznet: error: voc:voc@train: yolo would lose class maps, because they do not separate"
    )
    assert message.rstrip().endswith("pass --lossy to drop them")
    assert main([*words, "--lossy"]) == 0
    assert "dropped from 4 images: class maps" in capsys.readouterr().out
    assert len([*Path("new/labels/train").iterdir()]) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["voc:voc@train,annotated=ell", "--out", "new"],
            "options annotated, ignore and sample_weight are for training; remove them",
        ),
        (
            ["voc:voc@train", "--out", "voc"],
            "--out voc: expected a new folder, got that of the dataset; choose another",
        ),
        (["voc:nowhere@train", "--out", "new"], "expected the folder nowhere"),
    ],
)
def test_usage_errors(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_voc()
    assert main(["data", "convert", *words, "--to", "voc"]) == 2
    assert message in capsys.readouterr().err
