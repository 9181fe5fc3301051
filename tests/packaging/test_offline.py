"""No command opens a connection that the user did not ask for, and nothing is downloaded or reported."""

import ast
import sys
from pathlib import Path

import pytest

from blitznet.runtime.image_paths import SAMPLES
from support.distributions import ROOT
from support.offline import COMMAND, run_offline

SOURCE = ROOT / "src" / "blitznet"
CLIENTS = {
    "aiohttp",
    "fsspec",
    "ftplib",
    "http.client",
    "httpx",
    "huggingface_hub",
    "requests",
    "smtplib",
    "socket",
    "urllib.request",
}
"""modules with which a program opens connections"""
ALLOWED = {
    "bulk/cluster_address.py": {"socket"},  # the address of --ray
    "bulk/remote.py": {"aiohttp", "fsspec"},  # addresses that the user gives
    "cli/serve.py": {"socket"},  # the server listens
    "serve/server.py": {"socket"},
}
IMPORTS = """
import importlib, pkgutil, blitznet
for module in pkgutil.walk_packages(blitznet.__path__, "blitznet."):
    if module.name.split(".")[1] in ("api", "core", "data", "drawing", "metrics", "postprocess", "runtime", "report"):
        importlib.import_module(module.name)
"""


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports anywhere."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_which_modules_can_open_connections() -> None:
    clients = {}
    for path in sorted(SOURCE.rglob("*.py")):
        used = {client for client in CLIENTS for name in imported(path) if f"{name}.".startswith(f"{client}.")}
        if used:
            clients[path.relative_to(SOURCE).as_posix()] = used
    assert clients == ALLOWED


def test_the_guard_sees_suppressed_attempts() -> None:
    code = """
import socket
try:
    socket.create_connection(("127.0.0.1", 9))
except OSError:
    pass
"""
    with pytest.raises(AssertionError, match="getaddrinfo"):
        run_offline(sys.executable, code)


def test_predict_uses_no_network(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_offline(
        sys.executable, COMMAND, "predict", str(SAMPLES / "cat.jpg"), "--out", str(out), "--engine", "onnxruntime"
    )
    assert (out / "cat.jpg").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["info"],
        ["predict", "--out", "out", "--engine", "openvino", "--formats", "coco"],
        ["bench", "--rounds", "1", "--engine", "onnxruntime"],
        ["export", "blitznet300-lite", "--to", "onnx", "--precision", "float32", "--out", "own.onnx"],
    ],
    ids=lambda words: words[0].strip("-"),
)
def test_commands_use_no_network(words: list[str], tmp_path: Path) -> None:
    run_offline(sys.executable, _CODE, *words, cwd=tmp_path)


@pytest.mark.slow
def test_importing_uses_no_network() -> None:
    run_offline(sys.executable, IMPORTS)


_CODE = """
from blitznet.cli.main import main
try:
    status = main(sys.argv[1:])
except SystemExit as stop:
    status = stop.code
assert status in (0, None), status
"""
