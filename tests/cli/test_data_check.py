from pathlib import Path

import pytest

from blitznet.cli.main import main
from support import synthetic_data
from support.cli_datasets import write_voc


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_sound_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", write_voc()]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["set", "images", "objects", "masks", "classes"]
    assert said[1].split()[:2] == ["voc:voc@train", "4"]
    assert said[2:] == [
        "warning: voc:voc@train: images without objects: 1",
        "    toy_0003",
        "0 kinds of error, 1 kind of warning",
    ]


def test_errors_come_first_with_examples_and_make_it_fail(capsys: pytest.CaptureFixture[str]) -> None:
    text = write_voc(count=9)
    for number in range(7):
        (Path("voc/JPEGImages") / f"toy_000{number}.png").unlink()
    assert main(["data", "check", text]) == 1
    said = capsys.readouterr().out.splitlines()
    start = next(number for number, line in enumerate(said) if line.startswith("error"))
    assert said[start] == "error: voc:voc@train: files that are missing or cannot be read: 7"
    assert "toy_0000" in said[start + 1]
    assert said[start + 6] == "    ... and 2 more"
    assert said[-1].startswith("1 kind of error")


def test_several_sets_and_the_images_they_share(capsys: pytest.CaptureFixture[str]) -> None:
    texts = [write_voc("a"), write_voc("b")]
    assert main(["data", "check", *texts]) == 0
    said = capsys.readouterr().out
    assert "warning: voc:b@train: images also in voc:a@train: 4\n    toy_0000 is toy_0000\n" in said


def test_names_that_the_model_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.txt").write_text("cross\nsquare\n")
    assert main(["data", "check", write_voc(), "--classes", "mine.txt"]) == 0
    said = capsys.readouterr().out
    assert "warning: voc:voc@train: names unknown to the model, taken as background: 1\n    ell\n" in said


def test_colours_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    main(["data", "check", write_voc(), "voc:gone@train"])
    said = capsys.readouterr()
    assert "\x1b[1;31merror\x1b[0m: voc:gone@train" in said.out
    assert "\x1b[33mwarning\x1b[0m: voc:voc@train" in said.out
    assert "4/4" in said.err


def test_brackets_in_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    drawings = synthetic_data.draw(2)
    text = synthetic_data.write_folder(Path("my[bold]set"), drawings)
    Path("my[bold]set/masks", f"{drawings[0].id}.png").write_bytes(b"")
    assert main(["data", "check", text]) == 1
    said = capsys.readouterr().out
    assert said.count("my[bold]set") >= 2


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "blitznet: error: expected at least one data set, for example voc:VOCdevkit/VOC2012@train"),
        (["voc:voc@train", "--classes", "gone.txt"], 2, "blitznet: error: gone.txt: there is no such file"),
        (
            ["voc:gone@train"],
            1,
            "error: voc:gone@train: sets that cannot be opened: 1\n    voc:gone@train: there is no",
        ),
        (["gone"], 1, "error: gone: sets that cannot be opened: 1\n    'gone': expected FORMAT:ROOT@SPLIT"),
    ],
)
def test_mistakes(words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_voc()
    assert main(["data", "check", *words]) == code
    said = capsys.readouterr()
    assert (said.err if code == 2 else said.out).startswith(message)
