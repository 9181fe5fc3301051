"""How the site is made of these pages: `make docs`. It loads nothing from elsewhere."""

import re
from importlib.metadata import version as installed
from typing import Any

project = "blitznet"
author = "the blitznet authors"
version = release = installed("blitznet")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["models/*.notes.md"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "all"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = "blitznet"
html_copy_source = False
html_show_sphinx = False
html_css_files = ["site.css"]
html_static_path = ["_static"]
html_extra_path = ["tour.ipynb"]
html_theme_options = {
    "source_edit_link": "",
    "top_of_page_buttons": [],
}


def _plain(_app: Any, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Docstrings are plain English with code between single backticks: nothing else in them is markup."""
    for number, line in enumerate(lines):
        parts = re.split(r"(`[^`]+`)", line)
        lines[number] = "".join(
            f"`{part}`" if part.startswith("`") and len(part) > 1 else re.sub(r"([\\*|_])", r"\\\1", part)
            for part in parts
        )


def _outside(_app: Any, _name: str, text: list[str]) -> None:
    """Pages of the repository that are not the site's are given as files: a reader of them is one click away."""
    text[0] = re.sub(
        r"\]\((\.\./[^)#]+\.md)\)", lambda link: link[0] if _ours(link[1]) else f"](path:{link[1]})", text[0]
    )


def _ours(link: str) -> bool:
    """Whether a link that goes up stays among the pages."""
    return not re.match(r"(\.\./)+(src|benchmarks|demo|tests)/", link)


def setup(app: Any) -> None:
    """Sphinx calls this."""
    app.connect("source-read", _outside)
    app.connect("autodoc-process-docstring", _plain)
