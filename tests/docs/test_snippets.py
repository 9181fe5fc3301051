"""Every command and every snippet of the documentation runs, on synthetic data."""

import shutil
from pathlib import Path
from shutil import which

import pytest

from blitznet.core.model_paths import find_model, find_weights
from blitznet.core.models import DEFAULT
from support.snippets import (
    ROOT,
    blocks,
    commands,
    links,
    run_page,
    write_animals,
    write_labeled_samples,
    write_material,
)

PAGES = sorted((ROOT / "docs").rglob("*.md"))
OWN_TEST = ("own-data.md",)
"""pages with a test of their own"""
RUNNABLE = [page for page in PAGES if blocks(page, "console", "python") and page.name not in OWN_TEST]
CLASS_NAMES = ("aeroplane", "bicycle", "bird")
"""names of the three shapes: classes of the default model, so that it can be evaluated"""
DIRECTIVES = {"{toctree}", "{eval-rst}", "{include}", "{image}"}
SLOW_PAGES = ("add-classes.md", "deploy.md", "export.md", "partial-annotations.md", "serve.md", "train.md")
"""pages that train or export several times; the fast tests check that their flags exist"""


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that pages use; the run and the exported file are copies of the default model."""
    folder = tmp_path_factory.mktemp("material")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_material(CLASS_NAMES)
        write_animals()
        write_labeled_samples()
    for run in ("mine", "pseudo"):
        (folder / "runs" / run).mkdir(parents=True)
        shutil.copy(find_weights(DEFAULT), folder / "runs" / run / "last.safetensors")
    shutil.copy(find_model(DEFAULT), folder / "mine.onnx")
    return folder


@pytest.mark.filterwarnings("default")  # warnings of libraries for training and export
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] if page.name in SLOW_PAGES else []) for page in RUNNABLE],
    ids=lambda page: page.name,
)
def test_page_runs(page: Path, material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if any(words[0] == "curl" for words in commands(page)) and which("curl") is None:
        pytest.skip("curl is not installed")
    shutil.copytree(material, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    run_page(page)


def test_blocks_run_or_are_text() -> None:
    kinds = {block.kind for page in PAGES for block in blocks(page)}
    assert kinds <= {"console", "python", "text"} | DIRECTIVES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT / "docs")))
def test_links_and_images_exist(page: Path) -> None:
    assert not [link for link in links(page) if not (page.parent / link).exists()]
