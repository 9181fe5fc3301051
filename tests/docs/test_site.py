"""The site builds without warnings, loads nothing from other servers and is complete; the notebook runs."""

import json
import re
import runpy
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from shutil import copy

import nbclient
import nbformat
import pytest

from blitznet.cli.main import COMMANDS
from blitznet.core.models import DEFAULT, MODELS, get_spec
from blitznet.core.packaged_files import packaged_hashes
from support.snippets import ROOT, blocks, links

DOCS = ROOT / "docs"
NOTEBOOK = DOCS / "tutorials" / "tour.ipynb"
PAGES = [page for page in DOCS.rglob("*.md") if ".notes" not in page.name]
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
DOCKER_FLAGS = {
    "--build-arg", "--cap-drop", "--file", "--publish", "--read-only", "--rm", "--tag", "--tmpfs", "--volume",
}  # fmt: skip
TORCHRUN_FLAGS = {"--max-restarts", "--nnodes", "--nproc-per-node", "--rdzv-backend", "--rdzv-endpoint", "--rdzv-id"}
OTHER_FLAGS = {
    *("--help", "--version", "--silent", "--serve"),
    *("--filename", "--model-repository"),  # of kubectl and Triton
    *DOCKER_FLAGS,
    *TORCHRUN_FLAGS,
}
"""flags of blitznet itself, curl, demo/build.py and torchrun"""
MAX_CLICKS = 2
MAX_IMAGE_BYTES = 400_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    out = tmp_path_factory.mktemp("site")
    words = ["-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", out / "trees", DOCS, out / "html"]
    process = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return out / "html"


def html(site: Path, page: str) -> str:
    return (site / f"{page}.html").read_text()


def test_site_has_every_page(site: Path) -> None:
    assert not [page for page in PAGES if not (site / page.relative_to(DOCS).with_suffix(".html")).is_file()]
    assert (site / NOTEBOOK.name).read_bytes() == NOTEBOOK.read_bytes()


def test_site_loads_nothing_from_other_servers(site: Path) -> None:
    loading = re.compile(r"<(?:script|img|iframe|source)[^>]+src=\"(?:https?:)?//|<link[^>]+href=\"(?:https?:)?//")
    assert not [page for page in site.rglob("*.html") if loading.search(page.read_text())]
    styles = re.compile(r"url\([\"']?(?:https?:)?//|@import")
    assert not [style for style in site.rglob("*.css") if styles.search(style.read_text())]


def test_flags_keep_their_hyphens(site: Path) -> None:
    assert not [page for page in site.rglob("*.html") if re.search(r"[\u2013\u2014][a-z]", page.read_text())]


def test_commands_page_lists_every_command_and_flag(site: Path) -> None:
    page = html(site, "reference/cli")
    assert not [name for name in COMMANDS if f">blitznet {name}<" not in page]
    assert "--min-score" in page


def test_options_page_lists_every_field(site: Path) -> None:
    from blitznet.train.config import TrainConfig

    page = html(site, "reference/config")
    assert not [field.name for field in fields(TrainConfig) if f">{field.name}<" not in page]


def test_flags_on_pages_exist() -> None:
    module = runpy.run_path(str(DOCS / "generated.py"))
    options = {f"--{field.replace('_', '-')}" for field in re.findall(r"^\| `(\w+)`", module["config"](), re.MULTILINE)}
    flags = options | set(FLAG.findall(module["commands"]())) | OTHER_FLAGS
    pages = [ROOT / "README.md", *(page for page in PAGES if page.name != "speed.md")]
    assert not {flag: page.name for page in pages for flag in FLAG.findall(page.read_text()) if flag not in flags}


def test_python_page_documents_exactly_the_public_names() -> None:
    import blitznet

    text = "".join(block.text for block in blocks(DOCS / "reference" / "python.md", "{eval-rst}"))
    # The functions that share their name with a package are documented by their modules.
    text = re.sub(r"blitznet\.workflows\.(train|validate|export)_\w+", r"blitznet.\1", text)
    documented = re.findall(r"^\.\. (?:auto\w+|data):: blitznet\.(\w+)$", text, re.MULTILINE)
    assert sorted(documented) == sorted(blitznet.__all__)


def test_cards_list_the_published_files() -> None:
    cards = {path.stem: path.read_text() for path in (DOCS / "models").glob("*.md") if ".notes" not in path.name}
    published = {name: digest for name, digest in packaged_hashes().items() if Path(name).stem in cards}
    assert published
    assert not [name for name, digest in published.items() if f"| `{digest}` |" not in cards[Path(name).stem]]


def test_the_readme_has_the_scores_and_versions_of_the_cards() -> None:
    readme, models = (path.read_text() for path in (ROOT / "README.md", DOCS / "reference" / "models.md"))
    version = re.search(rf"^\| `{DEFAULT}` \| (v\d+) \|", models, re.MULTILINE)
    assert version is not None
    card = (DOCS / "models" / f"{DEFAULT}.md").read_text()
    assert card.startswith(f"# {DEFAULT} {version[1]}\n")
    row = re.search(rf"^\| {DEFAULT} {version[1]} \|(.*)\|$", readme, re.MULTILINE)
    total = re.search(r"^\| all sets \|(.*)\|$", card, re.MULTILINE)
    assert row is not None
    assert total is not None
    _, _, ap50, _, miou, _ = (cell.strip() for cell in row[1].split("|"))
    _, _, frequent, card_miou, *_ = (cell.split()[0] for cell in total[1].split("|"))
    assert (ap50, miou) == (frequent, card_miou)


def test_models_page_names_every_model() -> None:
    text = (DOCS / "reference" / "models.md").read_text()
    names = [name for name in MODELS if not name.startswith("tiny")]  # tests register tiny models
    assert not [name for name in names if f"`{name}`" not in text]


def test_http_page_lists_every_route_and_parameter() -> None:
    from blitznet.serve.limits import ServeLimits
    from blitznet.serve.openapi import openapi_document

    text = (DOCS / "reference" / "http.md").read_text()
    paths = openapi_document(replace(get_spec(DEFAULT), name="MODEL"), ServeLimits(), protected=True)["paths"]
    assert not [path for path in paths if f"`{path}`" not in text and f" {path}`" not in text]
    parameters = {item["name"] for operation in paths["/v1/predict"].values() for item in operation["parameters"]}
    assert not [name for name in parameters if f"`{name}`" not in text]


def test_speed_page_is_generated_from_its_figures() -> None:
    script = runpy.run_path(str(ROOT / "tools" / "benchmark_page.py"))
    assert (DOCS / "reference" / "speed.md").read_text() == script["render"](script["default_results"]())


def test_every_page_is_within_two_clicks_of_the_index() -> None:
    index = DOCS / "index.md"
    reached, frontier = {index}, {index}
    for _ in range(MAX_CLICKS):
        frontier = {target for page in frontier for target in page_targets(page)} - reached
        reached |= frontier
    assert not sorted(str(page.relative_to(DOCS)) for page in PAGES if page.resolve() not in reached)


def page_targets(page: Path) -> set[Path]:
    """Markdown pages that a page links to, in its text or its sidebar."""
    sidebar = [f"{line}.md" for block in blocks(page, "{toctree}") for line in block.text.split()]
    targets = {(page.parent / link).resolve() for link in [*links(page), *sidebar] if link.endswith(".md")}
    return {target for target in targets if target.is_relative_to(DOCS) and target.is_file()}


def test_sidebar_lists_every_other_page() -> None:
    entries = {line for block in blocks(DOCS / "index.md", "{toctree}") for line in block.text.split()}
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in PAGES}
    outside = {page for page in pages if page.startswith(("models/", "tables/")) or page in ("index", "CREDITS")}
    assert pages - outside == {entry for entry in entries if "/" in entry}


def test_architecture_figure_shows_every_package() -> None:
    svg = (DOCS / "images" / "architecture.svg").read_text()
    drawn = set(re.findall(r"class=\"name\"[^>]*>(\w+)<", svg))
    packages = {path.parent.name for path in (ROOT / "src" / "blitznet").glob("*/__init__.py")}
    layers = runpy.run_path(str(DOCS / "figures.py"))["layers"]()
    assert drawn == packages | {"weights"} | {name for line in layers for name in line}


def test_images_are_small() -> None:
    images = [path for path in DOCS.rglob("*") if path.suffix in (".jpg", ".png", ".svg")]
    assert images
    assert not [path for path in images if path.stat().st_size > MAX_IMAGE_BYTES]


def test_images_are_credited() -> None:
    text = (DOCS / "CREDITS.md").read_text()
    photographs = [*(DOCS / "images").rglob("*.jpg")]
    assert not [path.name for path in photographs if f"{path.name}`" not in text]


def test_notebook_has_no_outputs() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert not [cell for cell in cells if cell["outputs"] or cell["execution_count"] is not None]


@pytest.mark.filterwarnings("default")  # warnings of the kernel's client
@pytest.mark.slow
def test_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    copy(NOTEBOOK, tmp_path)
    notebook = nbformat.read(tmp_path / NOTEBOOK.name, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    assert (tmp_path / "tour.onnx").is_file()
