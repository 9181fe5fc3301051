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
from blitznet.runtime import openvino_engine
from blitznet.runtime.onnx_engine import OnnxEngine
from blitznet.runtime.openvino_engine import GRAPH, WEIGHTS, OpenVinoEngine, import_openvino
from support.fake_engines import SPEC, write_onnx


def images(batch: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.random.default_rng(batch).integers(0, 256, (batch, *SPEC.size, 3), np.uint8)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "blitznet" / "openvino"


def assert_equal_outputs(a: OpenVinoEngine, b: OnnxEngine, batch: int) -> None:
    outputs, expected = a.run(images(batch)), b.run(images(batch))
    assert isinstance(outputs, Outputs)
    for name in ("offsets", "logits", "segmentation_logits"):
        np.testing.assert_allclose(getattr(outputs, name), getattr(expected, name), rtol=1e-6)


def test_outputs_equal_onnxruntimes_for_any_batch_size(tmp_path: Path) -> None:
    write_onnx(tmp_path / "a.onnx")
    engine, reference = OpenVinoEngine(tmp_path / "a.onnx", threads=1), OnnxEngine(tmp_path / "a.onnx", threads=1)
    for batch in (1, 2, 3, 4, 5, 1):  # more sizes than are cached
        assert_equal_outputs(engine, reference, batch)
    assert engine.spec == reference.spec == SPEC


@pytest.mark.parametrize(
    ("precision", "capabilities", "expected"),
    [("float32", ["BF16"], "f32"), ("bfloat16", [], "bf16"), ("int8", [], "f32"), ("int8", ["BF16", "INT8"], "bf16")],
)
def test_settings_have_the_specs_precision_and_the_callers_threads(
    tmp_path: Path,
    precision: Literal["float32", "bfloat16", "int8"],
    capabilities: list[str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_onnx(tmp_path / "a.onnx", spec=replace(SPEC, precision=precision))
    calls: list[dict[str, Any]] = []
    core = import_openvino().Core
    compile_model = core.compile_model
    monkeypatch.setattr(
        core, "get_property", lambda _, device, name: capabilities if "CAPABILITIES" in name else [device]
    )

    def record(self: Any, model: Any, device: str, settings: dict[str, Any]) -> Any:
        calls.append(settings)
        return compile_model(self, model, device, settings)

    monkeypatch.setattr(core, "compile_model", record)
    OpenVinoEngine(tmp_path / "a.onnx", threads=1)
    assert calls[0]["INFERENCE_PRECISION_HINT"] == expected
    assert calls[0]["INFERENCE_NUM_THREADS"] == 1


def test_compiled_model_is_loaded_from_the_cache(tmp_path: Path, home: Path) -> None:
    write_onnx(tmp_path / "a.onnx")
    OpenVinoEngine(tmp_path / "a.onnx", threads=1)
    blobs = [(file.name, file.stat().st_mtime_ns) for file in home.iterdir()]
    assert blobs
    OpenVinoEngine(tmp_path / "a.onnx", threads=1)
    assert [(file.name, file.stat().st_mtime_ns) for file in home.iterdir()] == blobs


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, None])
def test_broken_cache_is_ignored(tmp_path: Path, home: Path, content: bytes | None) -> None:
    write_onnx(tmp_path / "a.onnx")
    OpenVinoEngine(tmp_path / "a.onnx", threads=1)
    for file in list(home.iterdir()):
        whole = file.read_bytes()
        file.chmod(0o600)
        file.write_bytes(whole[: len(whole) // 2] if content is None else content)
    assert_equal_outputs(OpenVinoEngine(tmp_path / "a.onnx", threads=1), OnnxEngine(tmp_path / "a.onnx", threads=1), 2)


def test_cache_folder_that_cannot_be_created(tmp_path: Path, home: Path) -> None:
    home.parent.parent.mkdir()
    home.parent.write_text("a file where the folder should be")
    write_onnx(tmp_path / "a.onnx")
    assert_equal_outputs(OpenVinoEngine(tmp_path / "a.onnx", threads=1), OnnxEngine(tmp_path / "a.onnx", threads=1), 1)


def test_cache_folder_that_disappears(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blitznet.runtime.openvino_engine.cache_folder", lambda engine: Path("/proc/nowhere"))
    write_onnx(tmp_path / "a.onnx")
    assert_equal_outputs(OpenVinoEngine(tmp_path / "a.onnx", threads=1), OnnxEngine(tmp_path / "a.onnx", threads=1), 1)


def test_file_without_a_valid_spec_is_refused(tmp_path: Path) -> None:
    write_onnx(tmp_path / "a.onnx", spec=None)
    with pytest.raises(ModelError, match=r"a\.onnx: expected a blitznet model, got a file without 'blitznet' metadata"):
        OpenVinoEngine(tmp_path / "a.onnx")
    write_onnx(tmp_path / "a.onnx", spec=replace(SPEC, version=3))
    with pytest.raises(
        ModelError, match=r"a\.onnx: expected a model spec of version 2 or older, got 3; update blitznet$"
    ):
        OpenVinoEngine(tmp_path / "a.onnx")


def test_broken_files_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.onnx").write_bytes(b"this is text")
    expected = r"a\.onnx: expected an ONNX model, got another file \(.*\)$"
    with pytest.raises(ModelError, match=expected):
        OpenVinoEngine(tmp_path / "a.onnx")
    with ZipFile(tmp_path / "b.openvino", "w") as file:
        file.writestr(GRAPH, "<net>")
    expected = r"b\.openvino: expected a zip of .* and spec\.json, but it cannot be opened \(.*model\.bin.*\)"
    with pytest.raises(ModelError, match=expected):
        OpenVinoEngine(tmp_path / "b.openvino")
    with ZipFile(tmp_path / "b.openvino", "w", ZIP_DEFLATED) as file:
        for name in (GRAPH, WEIGHTS, openvino_engine.SPEC):
            file.writestr(name, "<net>" * 1000)
    with pytest.raises(ModelError, match=r"b\.openvino: expected a zip .* \(its parts are compressed\)"):
        OpenVinoEngine(tmp_path / "b.openvino")
    with ZipFile(tmp_path / "b.openvino", "w") as file:
        for name in (GRAPH, WEIGHTS, openvino_engine.SPEC):
            file.writestr(name, "<net>")
    with pytest.raises(
        ModelError, match=r"b\.openvino: expected a model of `blitznet export`, but OpenVINO cannot open it"
    ):
        OpenVinoEngine(tmp_path / "b.openvino")
    with pytest.raises(ModelError, match=r"c\.onnx: expected a model file, got a path that does not exist$"):
        OpenVinoEngine(tmp_path / "c.onnx")
    assert capfd.readouterr().err == ""


def test_without_openvino(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_onnx(tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra, match=r"^the engine openvino needs `pip install 'blitznet\[openvino\]'`$"):
        OpenVinoEngine(tmp_path / "a.onnx")


def test_openvinos_telemetry_is_off(tmp_path: Path) -> None:
    """openvino reports its import and stores a user id, unless openvino_telemetry cannot be imported."""
    write_onnx(tmp_path / "a.onnx")
    code = """
import sys, socket
def refuse(*arguments, **named):
    raise SystemExit(f"network access: {arguments}")
socket.socket.connect = socket.getaddrinfo = refuse
from blitznet.runtime import openvino_engine
from blitznet.runtime.openvino_engine import OpenVinoEngine
OpenVinoEngine(sys.argv[1], threads=1)
print([name for name in sys.modules if name.startswith("openvino_telemetry") and sys.modules[name] is not None])
"""
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    process = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.onnx")],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert (process.returncode, process.stdout) == (0, "[]\n"), process.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"a.onnx", ".cache"}


INTERRUPT = """
import gc, signal, sys
from blitznet.runtime import openvino_engine
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


def test_ctrl_c_works_after_engines_are_deleted(tmp_path: Path, home: Path) -> None:
    write_onnx(tmp_path / "a.onnx")
    # in a process of its own, which may crash
    process = subprocess.run(
        [sys.executable, "-c", INTERRUPT, str(tmp_path / "a.onnx")], capture_output=True, text=True, check=False
    )
    assert (process.returncode, process.stdout) == (0, "interrupted\n"), process.stderr


FIRST_INFERENCES = """
import sys
from pathlib import Path
from threading import Barrier, Thread

import numpy as np

from blitznet.runtime.openvino_engine import OpenVinoEngine

opens_in_threads = sys.argv[2] == "open"
engines = () if opens_in_threads else OpenVinoEngine(sys.argv[1], threads=2).replicate()
barrier, height, width = Barrier(2), *map(int, sys.argv[3:])
sys.setswitchinterval(1e-6)


def run(number):
    barrier.wait()
    engine = OpenVinoEngine(sys.argv[1], threads=1) if opens_in_threads else engines[number]
    engine.run(np.zeros((1, height, width, 3), np.uint8))


threads = [Thread(target=run, args=(number,)) for number in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("done")
"""


@pytest.mark.parametrize("first", ["open", "run"])
def test_first_inferences_in_two_threads_end(tmp_path: Path, first: str) -> None:
    """Without care, the tables of OpenVINO's bindings and the GIL deadlock: always at this switch interval."""
    write_onnx(tmp_path / "a.onnx")
    command = [sys.executable, "-c", FIRST_INFERENCES, str(tmp_path / "a.onnx"), first, *map(str, SPEC.size)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == "done\n"
