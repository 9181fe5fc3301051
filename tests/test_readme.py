"""Every command and every snippet of the README runs, on a drawn data set."""

import json
import re
from pathlib import Path
from shutil import which

import pytest
from PIL import Image

from support.snippets import ROOT, blocks, commands, curl, links, material, run, serving

PAGE = ROOT / "README.md"
COMMANDS = commands(PAGE)


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a image and a VOC set, as the README supposes."""
    monkeypatch.chdir(tmp_path)
    material()
    return tmp_path


@pytest.mark.filterwarnings("default")  # of libraries that training and export bring
def test_commands_run_in_order(stranger: Path) -> None:
    ours = [words for words in COMMANDS if words[0] == "blitznet"]
    assert {words[1] for words in ours} == {"predict", "video", "serve", "data", "train", "eval", "export", "bench"}
    for words in ours:
        if words[1] != "serve":  # has a test of its own
            run(words)
    assert (stranger / "seen" / "image-mask.png").exists()
    assert (stranger / "mine.onnx").exists()


@pytest.mark.skipif(which("curl") is None, reason="there is no curl")
def test_the_server_answers_as_it_says(stranger: Path) -> None:
    serve = next(words for words in COMMANDS if words[:2] == ["blitznet", "serve"])
    questions = [words for words in COMMANDS if words[0] == "curl"]
    assert len(questions) == 2
    with serving(serve) as address:
        answers = [curl(words, address) for words in questions]
    assert json.loads(answers[0])["class_map"]
    with Image.open("overlay.png") as picture:
        assert picture.size == (80, 60)


def test_other_commands_are_make_targets() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    others = [words for words in COMMANDS if words[0] not in ("blitznet", "curl")]
    assert others
    for words in others:
        assert words[0] == "make"
        assert words[1] in targets


def test_snippets_run(stranger: Path) -> None:
    snippets = blocks(PAGE, "python")
    assert snippets
    for block in snippets:
        exec(compile(block.text, "README.md", "exec"), {})


def test_links_and_pictures_exist() -> None:
    assert not [link for link in links(PAGE) if not (ROOT / link).exists()]
