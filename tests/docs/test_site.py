"""The site builds without a warning, loads nothing from elsewhere, and shows every room; the notebook runs."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from shutil import copy

import nbclient
import nbformat
import pytest

from blitznet.core.models import MODELS
from support.snippets import ROOT, blocks

DOCS = ROOT / "docs"
NOTEBOOK = DOCS / "tour.ipynb"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    out = tmp_path_factory.mktemp("site")
    words = ["-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", out / "trees", DOCS, out / "html"]
    made = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return out / "html"


def test_every_page_is_in_it(site: Path) -> None:
    pages = [page.relative_to(DOCS).with_suffix("") for page in DOCS.rglob("*.md") if ".notes" not in page.name]
    assert not [page for page in pages if not (site / f"{page}.html").is_file()]
    assert (site / "tour.ipynb").read_bytes() == NOTEBOOK.read_bytes()


def test_it_loads_nothing_from_elsewhere(site: Path) -> None:
    loading = re.compile(r"<(?:script|img|iframe|source)[^>]+src=\"(?:https?:)?//|<link[^>]+href=\"(?:https?:)?//")
    assert not [page for page in site.rglob("*.html") if loading.search(page.read_text())]
    styles = re.compile(r"url\([\"']?(?:https?:)?//|@import")
    assert not [style for style in site.rglob("*.css") if styles.search(style.read_text())]


def test_python_page_names_the_public_names() -> None:
    import blitznet

    told = "".join(block.text for block in blocks(DOCS / "api.md", "{eval-rst}"))
    assert not [name for name in blitznet.__all__ if f"blitznet.{name}\n" not in told + "\n"]


def test_models_page_names_every_model() -> None:
    told = (DOCS / "models.md").read_text()
    ours = [name for name in MODELS if not name.startswith("tiny")]  # which other tests bring
    assert not [name for name in ours if f"`{name}`" not in told]


def test_server_page_names_every_door() -> None:
    from blitznet.serve.limits import ServeLimits
    from blitznet.serve.openapi import document

    told = (DOCS / "serving.md").read_text()
    assert not [path for path in document("MODEL", ServeLimits(), guarded=True)["paths"] if path not in told]


def test_the_drawing_shows_every_room() -> None:
    drawn = set(re.findall(r"class=\"name\"[^>]*>(\w+)<", (DOCS / "architecture.svg").read_text()))
    folders = {path.name for path in (ROOT / "src" / "blitznet").iterdir() if path.is_dir() and path.name[0] != "_"}
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(rule["layers"] for rule in rules if rule["type"] == "layers")
    assert drawn == folders | {room.strip() for line in layers for room in line.split("|")}


def test_pictures_are_small() -> None:
    ours = [DOCS / "annotations.png", DOCS / "architecture.svg"]
    assert not [path for path in ours if path.stat().st_size > 100_000]


def test_the_notebook_is_kept_without_its_answers() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert not [cell for cell in cells if cell["outputs"] or cell["execution_count"] is not None]


@pytest.mark.filterwarnings("default")  # of the kernel's client
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    copy(NOTEBOOK, tmp_path)
    notebook = nbformat.read(tmp_path / NOTEBOOK.name, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    assert (tmp_path / "tour.onnx").is_file()
