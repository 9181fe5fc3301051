import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest

from blitznet.core.errors import MissingExtra, ModelError
from blitznet.core.outputs import Outputs
from blitznet.runtime.onnx_engine import OnnxEngine
from blitznet.runtime.openvino_engine import CONTRACT, GRAPH, WEIGHTS, OpenVinoEngine, import_openvino
from support.fake_engines import SPEC, write_onnx


def images(batch: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.random.default_rng(batch).integers(0, 256, (batch, *SPEC.size, 3), np.uint8)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of each test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "blitznet" / "openvino"


def same(a: OpenVinoEngine, b: OnnxEngine, batch: int) -> None:
    one, other = a.run(images(batch)), b.run(images(batch))
    assert isinstance(one, Outputs)
    for name in ("offsets", "logits", "class_map"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-6)


def test_answers_as_onnxruntime_does_in_any_batch_size(tmp_path: Path) -> None:
    write_onnx(tmp_path / "a.onnx")
    engine, other = OpenVinoEngine(tmp_path / "a.onnx", threads=1), OnnxEngine(tmp_path / "a.onnx", threads=1)
    for batch in (1, 2, 3, 4, 5, 1):  # more sizes than are kept
        same(engine, other, batch)
    assert engine.spec == other.spec == SPEC


@pytest.mark.parametrize(
    ("precision", "able", "expected"),
    [("float32", ["BF16"], "f32"), ("bfloat16", [], "bf16"), ("int8", [], "f32"), ("int8", ["BF16", "INT8"], "bf16")],
)
def test_precision_and_threads_are_the_contracts_and_the_callers(
    tmp_path: Path,
    precision: Literal["float32", "bfloat16", "int8"],
    able: list[str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_onnx(tmp_path / "a.onnx", spec=replace(SPEC, precision=precision))
    asked: list[dict[str, Any]] = []
    core = import_openvino().Core
    compiled = core.compile_model
    monkeypatch.setattr(core, "get_property", lambda _, device, name: able if "CAPABILITIES" in name else [device])

    def noting(self: Any, model: Any, device: str, settings: dict[str, Any]) -> Any:
        asked.append(settings)
        return compiled(self, model, device, settings)

    monkeypatch.setattr(core, "compile_model", noting)
    OpenVinoEngine(tmp_path / "a.onnx", threads=1)
    assert asked[0]["INFERENCE_PRECISION_HINT"] == expected
    assert asked[0]["INFERENCE_NUM_THREADS"] == 1


def test_a_compiled_model_is_taken_from_the_cache(tmp_path: Path, home: Path) -> None:
    write_onnx(tmp_path / "a.onnx")
    OpenVinoEngine(tmp_path / "a.onnx", threads=1)
    blobs = [(file.name, file.stat().st_mtime_ns) for file in home.iterdir()]
    assert blobs
    OpenVinoEngine(tmp_path / "a.onnx", threads=1)
    assert [(file.name, file.stat().st_mtime_ns) for file in home.iterdir()] == blobs


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, None])
def test_a_broken_cache_is_left_aside(tmp_path: Path, home: Path, content: bytes | None) -> None:
    write_onnx(tmp_path / "a.onnx")
    OpenVinoEngine(tmp_path / "a.onnx", threads=1)
    for file in list(home.iterdir()):
        whole = file.read_bytes()
        file.chmod(0o600)
        file.write_bytes(whole[: len(whole) // 2] if content is None else content)
    same(OpenVinoEngine(tmp_path / "a.onnx", threads=1), OnnxEngine(tmp_path / "a.onnx", threads=1), 2)


def test_without_a_cache(tmp_path: Path, home: Path) -> None:
    home.parent.parent.mkdir()
    home.parent.write_text("a file where the folder should be")
    write_onnx(tmp_path / "a.onnx")
    same(OpenVinoEngine(tmp_path / "a.onnx", threads=1), OnnxEngine(tmp_path / "a.onnx", threads=1), 1)


def test_a_cache_that_vanishes(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blitznet.runtime.openvino_engine.cache_folder", lambda engine: Path("/proc/nowhere"))
    write_onnx(tmp_path / "a.onnx")
    same(OpenVinoEngine(tmp_path / "a.onnx", threads=1), OnnxEngine(tmp_path / "a.onnx", threads=1), 1)


def test_files_of_other_makers(tmp_path: Path) -> None:
    write_onnx(tmp_path / "a.onnx", spec=None)
    with pytest.raises(ModelError, match=r"a\.onnx: not a blitznet model, its metadata has no 'blitznet'; make one"):
        OpenVinoEngine(tmp_path / "a.onnx")
    write_onnx(tmp_path / "a.onnx", spec=replace(SPEC, version=2))
    with pytest.raises(ModelError, match=r"a\.onnx: expected a contract of version 1, got 2; update blitznet$"):
        OpenVinoEngine(tmp_path / "a.onnx")


def test_files_that_are_no_models(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.onnx").write_bytes(b"this is text")
    expected = r"a\.onnx: OpenVINO cannot open it, expected a model made by `blitznet export` \(.*\)$"
    with pytest.raises(ModelError, match=expected):
        OpenVinoEngine(tmp_path / "a.onnx")
    with ZipFile(tmp_path / "b.openvino", "w") as file:
        file.writestr(GRAPH, "<net>")
    expected = (
        r"b\.openvino: cannot be opened, expected a zip of model\.xml, model\.bin and contract\.json \(.*model\.bin.*\)"
    )
    with pytest.raises(ModelError, match=expected):
        OpenVinoEngine(tmp_path / "b.openvino")
    with ZipFile(tmp_path / "b.openvino", "w", ZIP_DEFLATED) as file:
        for name in (GRAPH, WEIGHTS, CONTRACT):
            file.writestr(name, "<net>" * 1000)
    with pytest.raises(ModelError, match=r"b\.openvino: cannot be opened, .* \(its parts are compressed\)"):
        OpenVinoEngine(tmp_path / "b.openvino")
    with ZipFile(tmp_path / "b.openvino", "w") as file:
        for name in (GRAPH, WEIGHTS, CONTRACT):
            file.writestr(name, "<net>")
    with pytest.raises(ModelError, match=r"b\.openvino: OpenVINO cannot open it, expected a model"):
        OpenVinoEngine(tmp_path / "b.openvino")
    with pytest.raises(ModelError, match=r"c\.onnx: there is no such model file$"):
        OpenVinoEngine(tmp_path / "c.onnx")
    assert capfd.readouterr().err == ""


def test_without_openvino(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_onnx(tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra, match=r"^the engine openvino needs `pip install 'blitznet\[openvino\]'`$"):
        OpenVinoEngine(tmp_path / "a.onnx")


def test_nothing_is_reported_to_its_maker(tmp_path: Path) -> None:
    """openvino reports its import, and keeps a number for this user, unless its reporter cannot be imported."""
    write_onnx(tmp_path / "a.onnx")
    code = """
import sys, socket
def refuse(*arguments, **named):
    raise SystemExit(f"the network was asked for {arguments}")
socket.socket.connect = socket.getaddrinfo = refuse
from blitznet.runtime.openvino_engine import OpenVinoEngine
OpenVinoEngine(sys.argv[1], threads=1)
print([name for name in sys.modules if name.startswith("openvino_telemetry") and sys.modules[name] is not None])
"""
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.onnx")],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"a.onnx", ".cache"}


SIGNALLED = """
import gc, signal, sys
from blitznet.runtime.openvino_engine import OpenVinoEngine
first = OpenVinoEngine(sys.argv[1])
second = OpenVinoEngine(sys.argv[1])
del first
gc.collect()
del second
gc.collect()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_is_heard_after_engines_are_gone(tmp_path: Path, home: Path) -> None:
    write_onnx(tmp_path / "a.onnx")
    # in a process of its own, which at worst dies of it
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, str(tmp_path / "a.onnx")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
