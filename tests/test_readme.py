"""Every command and every snippet of the README runs, on a drawn data set."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import toy
from blitznet.cli.main import main

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, text in BLOCKS if kind == "console" for line in text.splitlines()]
SHORTER = ["--steps", "2", "--batch", "2", "--workers", "0"]
"""added to training, which the README lets run for minutes"""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a photo and a VOC set, as the README supposes."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save("photo.jpg")
    drawings = toy.draw(8)
    toy.write_voc(Path("mydata"), drawings[:5], "train")
    toy.write_voc(Path("mydata"), drawings[5:], "val")
    return tmp_path


@pytest.mark.filterwarnings("default")  # of libraries that training and export bring
def test_commands_run_in_order(stranger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = [shlex.split(line, comments=True) for line in COMMANDS]
    ours = [words[1:] for words in run if words and words[0] == "blitznet"]
    assert {words[0] for words in ours} == {"predict", "data", "train", "eval", "export", "bench"}
    for words in ours:
        code = main([*words, *SHORTER] if words[0] == "train" else words)
        assert code == 0, (words, capsys.readouterr())
    assert (stranger / "seen" / "photo-mask.png").exists()
    assert (stranger / "mine.onnx").exists()


def test_other_commands_are_make_targets() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    others = [shlex.split(line, comments=True) for line in COMMANDS if not line.startswith("blitznet")]
    assert others
    for words in others:
        assert words[0] == "make"
        assert words[1] in targets


def test_snippets_run(stranger: Path) -> None:
    snippets = [text for kind, text in BLOCKS if kind == "python"]
    assert snippets
    for text in snippets:
        exec(compile(text, "README.md", "exec"), {})


def test_links_and_pictures_exist() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert not missing
