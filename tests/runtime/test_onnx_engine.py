import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from blitznet.core.errors import ModelError, UsageError
from blitznet.core.outputs import Outputs
from blitznet.runtime.onnx_engine import OnnxEngine, execution_providers
from support.fake_engines import SPEC, write_onnx


@pytest.mark.parametrize("batch", [1, 3])
def test_run_returns_the_files_outputs(tmp_path: Path, batch: int) -> None:
    expected = write_onnx(tmp_path / "a.onnx")
    engine = OnnxEngine(tmp_path / "a.onnx", threads=1)
    outputs = engine.run(np.full((batch, *SPEC.size, 3), 7, np.uint8))
    assert engine.spec == SPEC
    assert engine.name == "onnxruntime"
    assert isinstance(outputs, Outputs)
    for name, shift in (("offsets", 7), ("logits", 0), ("segmentation_logits", 0)):
        array = getattr(outputs, name)
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, np.repeat(getattr(expected, name) + shift, batch, 0), rtol=1e-6)


def spec_with_unknown_key() -> str:
    return json.dumps({**json.loads(SPEC.to_json()), "depth": True})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            None,
            r"a\.onnx: expected a blitznet model, got a file without 'blitznet' metadata; make one",
        ),
        ("{}", r"a\.onnx: expected the spec of a blitznet model, got something else"),
        ("cats", r"a\.onnx: expected the spec of a blitznet model, got something else"),
        (
            spec_with_unknown_key(),
            r"a\.onnx: the spec has unknown keys \['depth'\]; the file is of a newer version, update blitznet",
        ),
        (
            replace(SPEC, version=3).to_json(),
            r"a\.onnx: expected a model spec of version 2 or older, got 3; update blitznet",
        ),
    ],
    ids=["no spec", "empty", "no JSON", "unknown key", "version"],
)
def test_file_without_a_valid_spec_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    write_onnx(tmp_path / "a.onnx", spec=None, text=text)
    with pytest.raises(ModelError, match=message):
        OnnxEngine(tmp_path / "a.onnx")


def test_file_that_is_not_onnx_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"this is text")
    with pytest.raises(ModelError, match=r"a\.onnx: expected an ONNX model, got another file \(.*\)$"):
        OnnxEngine(tmp_path / "a.onnx")
    with pytest.raises(ModelError, match=r"b\.onnx: expected a model file, got a path that does not exist$"):
        OnnxEngine(tmp_path / "b.onnx")


@pytest.mark.parametrize("threads", [0, -2])
def test_invalid_threads_are_refused(tmp_path: Path, threads: int) -> None:
    with pytest.raises(UsageError, match=f"threads: expected 1 or more, got {threads}"):
        OnnxEngine(tmp_path / "a.onnx", threads=threads)


def test_bfloat16_is_refused(tmp_path: Path) -> None:
    write_onnx(tmp_path / "a.onnx", spec=replace(SPEC, precision="bfloat16"))
    message = r"a\.onnx: onnxruntime does not compute in bfloat16; use --engine openvino$"
    with pytest.raises(ModelError, match=message):
        OnnxEngine(tmp_path / "a.onnx")


@pytest.mark.parametrize("name", ["onnxruntime-cuda", "onnxruntime-tensorrt"])
def test_engine_that_is_not_installed_is_refused(
    tmp_path: Path, name: Literal["onnxruntime-cuda", "onnxruntime-tensorrt"]
) -> None:
    write_onnx(tmp_path / "a.onnx")
    message = (
        rf"^engine: expected one that this onnxruntime supports \(onnxruntime\), got {name}; install onnxruntime-gpu$"
    )
    with pytest.raises(UsageError, match=message):
        OnnxEngine(tmp_path / "a.onnx", name=name)


def test_gpu_engines_fall_back_to_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    available = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    cuda, tensorrt = (
        execution_providers("onnxruntime-cuda", available),
        execution_providers("onnxruntime-tensorrt", available),
    )
    assert [name for name, _ in cuda] == available[1:]
    assert [name for name, _ in tensorrt] == available
    assert tensorrt[0][1]["trt_engine_cache_path"] == str(tmp_path / "blitznet" / "onnxruntime-tensorrt")
