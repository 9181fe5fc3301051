"""Every command and every snippet of the site's pages runs, in order, on drawn material."""

import shutil
from pathlib import Path
from shutil import which

import pytest

from blitznet.api import WEIGHTS
from blitznet.core.models import DEFAULT
from support.snippets import ROOT, animals, blocks, commands, links, material, run_page

PAGES = sorted((ROOT / "docs").rglob("*.md"))
ELSEWHERE = ("own-data.md",)
"""pages that have a test of their own"""
RUNNING = [page for page in PAGES if blocks(page, "console", "python") and page.name not in ELSEWHERE]
NAMES = ("aeroplane", "bicycle", "bird")
"""what the drawn shapes are called: the first of the default model's classes, so that it can be asked about them"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pages speak of; a run and an exported file, which take long to make, are the default model's."""
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        material(NAMES)
        animals()
    (folder / "runs" / "mine").mkdir(parents=True)
    shutil.copy(WEIGHTS / f"{DEFAULT}.safetensors", folder / "runs" / "mine" / "last.safetensors")
    shutil.copy(WEIGHTS / f"{DEFAULT}.onnx", folder / "mine.onnx")
    return folder


@pytest.mark.filterwarnings("default")  # of libraries that training and export bring
@pytest.mark.parametrize("page", RUNNING, ids=lambda page: page.name)
def test_a_page_runs(page: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if any(words[0] == "curl" for words in commands(page)) and which("curl") is None:
        pytest.skip("there is no curl")
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    run_page(page)


def test_blocks_are_run_or_plainly_text() -> None:
    kinds = {block.kind for page in PAGES for block in blocks(page)}
    assert kinds <= {"console", "python", "text", "{toctree}", "{eval-rst}", "{include}"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT / "docs")))
def test_links_and_pictures_exist(page: Path) -> None:
    assert not [link for link in links(page) if not (page.parent / link).exists()]
