"""Every command and every snippet of the README runs, on a synthetic data set."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.snippets import ROOT, blocks, commands, links, run_command, write_material

PAGE = ROOT / "README.md"
COMMANDS = commands(PAGE)
MAX_LINES = 120


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the image and the VOC set of the README."""
    monkeypatch.chdir(tmp_path)
    write_material()
    return tmp_path


@pytest.mark.filterwarnings("default")  # warnings of libraries for training and export
def test_commands_run_in_order(working_folder: Path) -> None:
    ours = [words for words in COMMANDS if words[0] == "blitznet"]
    assert {words[1] for words in ours} == {"predict", "train", "eval", "export"}
    for words in ours:
        run_command(words)
    assert (working_folder / "predictions" / "image-class-map.png").exists()
    assert (working_folder / "mine.onnx").exists()


def test_make_commands_are_targets() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    others = [words for words in COMMANDS if words[0] != "blitznet"]
    assert {tuple(words) for words in others} >= {("make", "demo"), ("make", "test")}
    for words in others:
        assert words[0] == "make"
        assert words[1] in targets


def test_snippets_run(working_folder: Path) -> None:
    snippets = blocks(PAGE, "python")
    assert snippets
    for block in snippets:
        exec(compile(block.text, "README.md", "exec"), {})
    assert (working_folder / "annotated.jpg").exists()


def test_readme_is_short() -> None:
    assert len(PAGE.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_and_images_exist(name: str) -> None:
    page = ROOT / name
    assert not [link for link in links(page) if not (ROOT / link).exists()]


def test_contributing_names_make_targets() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    words = [line.split() for block in blocks(ROOT / "CONTRIBUTING.md", "console") for line in block.text.splitlines()]
    assert words
    assert not [line for line in words if line[0] != "make" or line[1] not in targets]


def test_versions_agree() -> None:
    """In pyproject.toml, CITATION.cff and at the top of the changelog."""
    pattern = r"^version\s*[=:]\s*\"?([\d.]+)"
    texts = [(ROOT / name).read_text() for name in ("pyproject.toml", "CITATION.cff")]
    versions = [re.search(pattern, text, re.MULTILINE) for text in texts]
    released = re.findall(r"^## ([\d.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert {version[1] for version in versions if version} == {released[0]}


@pytest.mark.slow
def test_snippets_are_typed(tmp_path: Path) -> None:
    for number, block in enumerate(blocks(PAGE, "python")):
        path = tmp_path / f"snippet{number}.py"
        path.write_text(block.text)
        command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(path)]
        process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert process.returncode == 0, process.stdout
