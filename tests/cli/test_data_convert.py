from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from blitznet.cli.main import main
from blitznet.data import convert
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


@pytest.mark.parametrize("to", ["coco", "voc", "yolo", "folder"])
def test_another_dataset_in_the_folder_is_not_changed(to: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As SBD's masks into the VOC devkit: its lists, annotations and class maps have equal names."""
    own: dict[str, Callable[..., str]] = {
        "coco": synthetic_data.write_coco,
        "voc": synthetic_data.write_voc,
        "yolo": synthetic_data.write_yolo,
    }
    drawings = synthetic_data.draw(3)
    if to == "folder":
        synthetic_data.write_folder(Path("theirs"), drawings)
    else:
        own[to](Path("theirs"), drawings, "train")
    before = files(Path("theirs"))
    words = ["data", "convert", write_voc(), "--to", to, "--out", "theirs", "--lossy"]
    assert main([*words, "--split", "train"]) == 2
    assert files(Path("theirs")) == before
    message = capsys.readouterr().err
    assert (
        "expected a new file, or one that blitznet wrote, got another file; choose another --split or --out" in message
    )
    assert main([*words, "--split", "train", "--overwrite"]) == 0


def test_the_same_conversion_again_replaces_its_files() -> None:
    words = ["data", "convert", write_voc(), "--to", "voc", "--out", "new"]
    for _ in range(2):
        assert main(words) == 0
    Path("new/ImageSets/Main/train.txt").write_text("mine\n")
    assert main(words) == 2
    assert Path("new/ImageSets/Main/train.txt").read_text() == "mine\n"


def test_a_conversion_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["data", "convert", write_voc(), "--to", "voc", "--out", "new"]
    image = sorted(Path("voc/JPEGImages").iterdir())[-1]
    content = image.read_bytes()

    def remove(*arguments: object) -> None:
        image.unlink(missing_ok=True)

    monkeypatch.setattr("blitznet.data.convert._staging_folder", _staging_then(remove))
    assert main(words) == 2
    assert not Path("new").exists()
    image.write_bytes(content)


def _staging_then(act: Callable[[], None]) -> Callable[[Path], AbstractContextManager[Path]]:
    original = convert._staging_folder

    def staging(out: Path) -> AbstractContextManager[Path]:
        act()
        return original(out)

    return staging


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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
