import sys
from pathlib import Path

import pytest

from blitznet.cli.main import main
from support import synthetic_data
from support.cli_datasets import write_voc


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_valid_dataset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", write_voc()]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["dataset", "images", "objects", "masks", "classes"]
    assert lines[1].split()[:2] == ["voc:voc@train", "4"]
    rows = [line.split() for line in lines[2:7]]
    assert rows[:2] == [["voc:voc@train"], ["class", "objects", "images", "masks"]]
    assert rows[2:] == [["cross", "4", "3", "3"], ["ell", "4", "2", "2"], ["square", "2", "2", "2"]]
    assert lines[7:] == [
        "warning: voc:voc@train: images without objects: 1",
        "    toy_0003",
        "0 kinds of error, 1 kind of warning",
    ]


def test_errors_are_first_and_set_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    text = write_voc(count=9)
    for number in range(7):
        (Path("voc/JPEGImages") / f"toy_000{number}.png").unlink()
    assert main(["data", "check", text]) == 1
    lines = capsys.readouterr().out.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("error"))
    assert lines[start] == "error: voc:voc@train: missing or unreadable files: 7"
    assert "toy_0000" in lines[start + 1]
    assert lines[start + 6] == "    ... and 2 more"
    assert lines[-1].startswith("1 kind of error")


def test_images_in_several_datasets_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    texts = [write_voc("a"), write_voc("b")]
    assert main(["data", "check", *texts]) == 0
    output = capsys.readouterr().out
    assert "warning: voc:b@train: images also in voc:a@train: 4\n    toy_0000 is toy_0000\n" in output


def test_classes_that_the_model_lacks_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.txt").write_text("cross\nsquare\n")
    assert main(["data", "check", write_voc(), "--class-names", "mine.txt"]) == 0
    output = capsys.readouterr().out
    assert "warning: voc:voc@train: classes unknown to the model, used as background: 1\n    ell\n" in output


def test_colors_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    main(["data", "check", write_voc(), "voc:gone@train"])
    output = capsys.readouterr()
    assert "\x1b[1;31merror\x1b[0m: voc:gone@train" in output.out
    assert "\x1b[33mwarning\x1b[0m: voc:voc@train" in output.out
    assert "4/4" in output.err


def test_brackets_in_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    drawings = synthetic_data.draw(2)
    text = synthetic_data.write_folder(Path("my[bold]set"), drawings)
    Path("my[bold]set/masks", f"{drawings[0].id}.png").write_bytes(b"")
    assert main(["data", "check", text]) == 1
    assert capsys.readouterr().out.count("my[bold]set") >= 2


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "blitznet: error: expected at least one dataset, got none; for example voc:VOCdevkit/VOC2012@train"),
        (
            ["voc:voc@train", "--class-names", "gone.txt"],
            2,
            "blitznet: error: gone.txt: expected a file, got a path that does not exist",
        ),
        (
            ["voc:gone@train"],
            1,
            "error: voc:gone@train: datasets that cannot be opened: 1\n    voc:gone@train: expected the folder",
        ),
        (["gone"], 1, "error: gone: datasets that cannot be opened: 1\n    'gone': expected FORMAT:ROOT@SPLIT"),
    ],
)
def test_usage_errors(words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_voc()
    assert main(["data", "check", *words]) == code
    output = capsys.readouterr()
    assert (output.err if code == 2 else output.out).startswith(message)


def test_a_missing_extra_is_a_wrong_call_and_not_broken_data(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_voc()
    monkeypatch.setitem(sys.modules, "defusedxml.common", None)
    monkeypatch.setitem(sys.modules, "defusedxml.ElementTree", None)
    assert main(["data", "check", "voc:voc@train"]) == 2
    output = capsys.readouterr()
    assert "needs `pip install 'blitznet[data]'`" in output.err
    assert len(output.err.splitlines()) == 1
