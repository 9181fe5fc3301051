"""The house's own rules: rooms say what they are, drawers have no names, a concept has one word."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "blitznet"
FILES = sorted(SOURCE.rglob("*.py"))
ROOMS = sorted(path.parent for path in SOURCE.glob("*/__init__.py"))
DRAWERS = {"utils", "util", "misc", "helpers", "common", "tools"}
TWINS = {
    "backbone": "encoder",
    "neck": "fusion",
    "backend": "engine",
    "prior": "anchor",
    "priors": "anchors",
    "semseg": "class_map",
    "conf": "score",
    "confidence": "score",
    "imgsz": "size",
    "cfg": "config",
}


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_rooms_open_with_what_they_are(room: Path) -> None:
    tree = ast.parse((room / "__init__.py").read_text())
    text = ast.get_docstring(tree) or ""
    assert len(tree.body) == 1, "a room's door holds its docstring alone"
    assert "ay import" in text
    assert "ever comes in" in text


def test_no_drawers() -> None:
    assert not [path for path in FILES if path.stem in DRAWERS]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_one_word_a_concept(path: Path) -> None:
    found = [name for name in _public_names(ast.parse(path.read_text())) if set(name.lower().split("_")) & TWINS.keys()]
    assert not found, f"say {TWINS}"


def _public_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node.name
            if isinstance(node, ast.FunctionDef):
                yield from (argument.arg for argument in (*node.args.args, *node.args.kwonlyargs))


def test_public_names_are_there_and_sorted() -> None:
    import blitznet

    assert blitznet.__all__ == sorted(blitznet.__all__)
    for name in blitznet.__all__:
        assert getattr(blitznet, name) is not None


def test_architecture_names_every_room() -> None:
    text = (SOURCE.parents[1] / "ARCHITECTURE.md").read_text()
    missing = [room.name for room in ROOMS if not re.search(rf"`{room.name}`", text)]
    assert not missing
