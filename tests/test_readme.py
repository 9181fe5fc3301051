"""Every command and every snippet of the README runs, on a drawn data set."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which

import numpy as np
import pytest
from PIL import Image

import toy
from blitznet.cli.main import main
from media.films import write_film

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
    write_film(Path("clip.mp4"), frames=5, sound="aac")
    return tmp_path


@contextmanager
def serving(words: list[str]) -> Iterator[str]:
    """What the command serves, at its address, which is any that is free."""
    words = [sys.executable, "-m", *words, "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = re.search(r"http://\S+", process.stdout.readline())
        assert address is not None
        yield address.group(0)
        process.terminate()


@pytest.mark.filterwarnings("default")  # of libraries that training and export bring
def test_commands_run_in_order(stranger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = [shlex.split(line, comments=True) for line in COMMANDS]
    ours = [words[1:] for words in run if words and words[0] == "blitznet"]
    assert {words[0] for words in ours} == {"predict", "video", "serve", "data", "train", "eval", "export", "bench"}
    for words in ours:
        if words[0] == "serve":  # has a test of its own
            continue
        code = main([*words, *SHORTER] if words[0] == "train" else words)
        assert code == 0, (words, capsys.readouterr())
    assert (stranger / "seen" / "photo-mask.png").exists()
    assert (stranger / "mine.onnx").exists()


@pytest.mark.skipif(which("curl") is None, reason="there is no curl")
def test_the_server_answers_as_it_says(stranger: Path) -> None:
    run = [shlex.split(line) for line in COMMANDS]
    serve = next(words for words in run if words[:2] == ["blitznet", "serve"])
    questions = [words for words in run if words[0] == "curl"]
    assert len(questions) == 2
    with serving(serve) as address:
        answers = [
            subprocess.run(
                [word.replace("http://127.0.0.1:8000", address) for word in words], capture_output=True, check=True
            ).stdout
            for words in questions
        ]
    assert json.loads(answers[0])["class_map"]
    with Image.open("overlay.png") as picture:
        assert picture.size == (80, 60)


def test_other_commands_are_make_targets() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    others = [shlex.split(line, comments=True) for line in COMMANDS if not line.startswith(("blitznet", "curl"))]
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
