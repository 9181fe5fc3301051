"""Files of users are parsed in few places, which have limits; nothing reads a pickle."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "blitznet"
TREES = {str(path.relative_to(SOURCE)): ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))}

PLACES = {
    "Image.open": {"core/image.py", "bench/timing.py"},
    "yaml.safe_load": {"data/yolo.py"},
    "loadmat": {"data/sbd.py"},
    "ParquetFile": {"bulk/parquet.py", "data/huggingface.py"},
    "ZipFile": {
        "core/npz.py",
        "runtime/openvino_engine.py",
        "nets/program_engine.py",
        "export/openvino.py",
        "export/rewrite.py",
    },
    "torch.load": {"nets/program_engine.py", "nets/state_dict.py"},
    "torch.export.load": {"nets/program_engine.py"},
    "torch.jit.load": set(),
    "np.load": set(),
    "np.fromfile": set(),
    "yaml.load": set(),
    "yaml.unsafe_load": set(),
    "yaml.full_load": set(),
    "pickle.load": set(),
    "pickle.loads": set(),
    "shelve.open": set(),
    "marshal.loads": set(),
    "joblib.load": set(),
    "pd.read_pickle": set(),
    "eval": set(),
    "exec": set(),
}
"""function -> the files that may call it"""
UNSAFE_XML = ("xml.etree", "xml.dom", "xml.sax", "lxml")
XML_WRITERS = {"Element", "SubElement", "indent", "tostring", "ElementTree"}
"""names of xml.etree that write; parsing is defusedxml's"""


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Name of the function and node of every call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def callers(name: str) -> set[str]:
    """The files that call a function under this name, or under the end of it; modules of torch have a method `eval`."""
    return {
        file
        for file, tree in TREES.items()
        if any(called == name or (called.endswith(f".{name}") and name != "eval") for called, _ in calls(tree))
    }


@pytest.mark.parametrize("name", PLACES)
def test_parsers_are_called_in_few_places(name: str) -> None:
    assert callers(name) - PLACES[name] == set()


def test_nothing_reads_a_pickle() -> None:
    for file, tree in TREES.items():
        for name, node in calls(tree):
            if name == "torch.load":
                options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert options.get("weights_only") == "True", f"{file}:{node.lineno}"
            assert not any(
                keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False" for keyword in node.keywords
            )


def test_xml_is_parsed_by_defusedxml() -> None:
    wrong = []
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(UNSAFE_XML):
                wrong += [f"{file}: {alias.name}" for alias in node.names if alias.name not in XML_WRITERS]
            if isinstance(node, ast.Import):
                wrong += [f"{file}: {alias.name}" for alias in node.names if alias.name.startswith(UNSAFE_XML)]
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("ElementTree.parse", "ElementTree.fromstring"):
                wrong.append(f"{file}: {ast.unparse(node.func)}")
    assert not wrong


def test_the_check_finds_calls() -> None:
    assert callers("Image.open") == {"core/image.py", "bench/timing.py"}
    assert callers("loadmat") == {"data/sbd.py"}
