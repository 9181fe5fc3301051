"""Configuration of the documentation site (`make docs`). The site loads nothing from other servers."""

import re
import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from generated import GENERATED

project = "blitznet"
author = "the blitznet authors"
version = release = installed_version("blitznet")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["models/*.notes.md"]
myst_heading_anchors = 3
smartquotes = False

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "blitznet"
html_copy_source = False
html_show_sphinx = False
html_css_files = ["site.css"]
html_static_path = ["_static"]
html_extra_path = ["tutorials/tour.ipynb"]
html_theme_options = {
    "source_edit_link": "",
    "top_of_page_buttons": [],
}

OUTSIDE_SIDEBAR = ("models/", "tables/", "CREDITS")
"""pages that other pages link to, but the sidebar does not list"""
SOURCE_FOLDERS = re.compile(r"(\.\./)+(src|benchmarks|demo|tests)/")


def _escape_docstring(_app: Any, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Make code of single backticks, and escape everything else that reStructuredText takes for markup."""
    for number, line in enumerate(lines):
        if line.lstrip().startswith((":", "..")):
            continue
        parts = re.split(r"(`[^`]+`)", line)
        lines[number] = "".join(
            f"`{part}`" if part.startswith("`") and len(part) > 1 else re.sub(r"([\\*|_])", r"\\\1", part)
            for part in parts
        )


def _prepare_page(_app: Any, name: str, text: list[str]) -> None:
    """Insert generated text, keep pages out of the sidebar, and link files that are no pages as downloads."""
    if name in GENERATED:
        placeholder, generate = GENERATED[name]
        text[0] = text[0].replace(placeholder, generate())
    if name.startswith(OUTSIDE_SIDEBAR):
        text[0] = f"---\norphan: true\n---\n{text[0]}"
    text[0] = re.sub(
        r"\]\((\.\./[^)#]+\.md)\)",
        lambda link: f"](path:{link[1]})" if SOURCE_FOLDERS.match(link[1]) else link[0],
        text[0],
    )


def _outdated_pages(_app: Any, _env: Any, _added: set[str], _changed: set[str], _removed: set[str]) -> list[str]:
    """Read generated pages in every build, since the code may have changed."""
    return list(GENERATED)


def setup(app: Any) -> None:
    """Connect the handlers; Sphinx calls this."""
    app.connect("env-get-outdated", _outdated_pages)
    app.connect("source-read", _prepare_page)
    app.connect("autodoc-process-docstring", _escape_docstring)
