"""Packages describe themselves, import without cycles, and define each public name once."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "blitznet"
FILES = sorted(SOURCE.rglob("*.py"))
PACKAGES = sorted(path.parent for path in SOURCE.glob("*/__init__.py"))
VAGUE = {"utils", "util", "misc", "helpers", "common", "tools"}
ENTRY_POINTS = {"run", "read"}
"""functions that every command module has under the same name"""
TWINS = {"blitznet.core.boxes", "blitznet.train.boxes"}
"""the same formulas in numpy and in torch, tested to be equal"""


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, modules: set[str]) -> Iterator[str]:
    """Which of `modules` a file imports, also inside functions and for type checking."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                if submodule in modules:
                    yield submodule
                elif node.module in modules:
                    yield node.module


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """One import cycle, or nothing."""
    state: dict[str, int] = {}
    stack: list[str] = []

    def visit(name: str) -> list[str]:
        state[name] = 1
        stack.append(name)
        for target in sorted(graph[name]):
            if state.get(target) == 1:
                return [*stack[stack.index(target) :], target]
            if target not in state and (path := visit(target)):
                return path
        stack.pop()
        state[name] = 2
        return []

    for name in sorted(graph):
        if name not in state and (path := visit(name)):
            return path
    return []


def test_no_import_cycle_in_the_package() -> None:
    modules = {module_name(path, SOURCE.parent): path for path in FILES if path.name != "__init__.py"}
    graph = {name: set(imports(path, set(modules))) - {name} for name, path in modules.items()}
    assert sum(map(len, graph.values())) > len(graph)
    assert not cycle(graph)


@pytest.mark.parametrize("folder", ["benchmarks", "tools", "tests"])
def test_no_import_cycle_in_scripts(folder: str) -> None:
    modules = {module_name(path, ROOT / folder): path for path in (ROOT / folder).rglob("*.py")}
    graph = {name: set(imports(path, set(modules))) - {name} for name, path in modules.items()}
    assert not cycle(graph)


def test_the_cycle_check_finds_one() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_packages_state_what_they_may_import(package: Path) -> None:
    tree = ast.parse((package / "__init__.py").read_text())
    text = ast.get_docstring(tree) or ""
    # Packages that share the name of a public function are callable.
    rest = [ast.unparse(node) for node in tree.body[1:]]
    assert not [line for line in rest if "callable" not in line], "expected a docstring alone"
    assert re.search(r"^May import: ", text, re.MULTILINE)
    assert re.search(r"^Never imports: ", text, re.MULTILINE)


def test_no_vague_module_names() -> None:
    assert not [path for path in FILES if path.stem in VAGUE]


def test_public_names_have_one_definition() -> None:
    owners = defaultdict(set)
    for path in FILES:
        module = module_name(path, SOURCE.parent)
        for node in ast.parse(path.read_text()).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                names = [node.name]
            for name in names:
                if not name.startswith("_") and not (module.startswith("blitznet.cli.") and name in ENTRY_POINTS):
                    owners[name].add(module)
    twice = {name: sorted(modules) for name, modules in owners.items() if len(modules) > 1 and modules != TWINS}
    assert not twice, "\n".join(f"{name}: {', '.join(modules)}" for name, modules in sorted(twice.items()))


def test_no_test_module_imports_another() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in (ROOT / "tests").rglob("*.py")
        for match in [re.search(r"^(from|import) [\w.]*\btest_\w+.*$", path.read_text(), re.MULTILINE)]
        if match
    ]
    assert not wrong, "\n".join(wrong)


def test_public_names_exist_and_are_sorted() -> None:
    import blitznet

    assert blitznet.__all__ == sorted(blitznet.__all__)
    for name in blitznet.__all__:
        assert getattr(blitznet, name) is not None


def test_architecture_names_every_package() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    missing = [package.name for package in PACKAGES if not re.search(rf"`{package.name}`", text)]
    assert not missing


def public_functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
    """Public functions, classes and their public methods of all packages."""
    for path in FILES:
        module = module_name(path, SOURCE.parent)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not node.name.startswith(
                "_"
            ):
                yield f"{module}.{node.name}", node
                for item in node.body if isinstance(node, ast.ClassDef) else []:
                    if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)) and not item.name.startswith("_"):
                        yield f"{module}.{node.name}.{item.name}", item


def test_public_functions_are_documented() -> None:
    """In one line, or with sections for arguments, result and errors."""
    wrong = []
    for name, node in public_functions():
        text = ast.get_docstring(node) or ""
        sections = re.search(r"^(Args|Returns|Yields|Raises|Examples|Attributes):$", text, re.MULTILINE)
        if not text or (not isinstance(node, ast.ClassDef) and "\n" in text and not sections):
            wrong.append(name)
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong)
