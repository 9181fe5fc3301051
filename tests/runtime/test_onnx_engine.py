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
def test_answers_of_a_file(tmp_path: Path, batch: int) -> None:
    expected = write_onnx(tmp_path / "a.onnx")
    engine = OnnxEngine(tmp_path / "a.onnx", threads=1)
    outputs = engine.run(np.full((batch, *SPEC.size, 3), 7, np.uint8))
    assert engine.spec == SPEC
    assert engine.name == "onnxruntime"
    assert isinstance(outputs, Outputs)
    for name, shift in (("offsets", 7), ("logits", 0), ("class_map", 0)):
        answer, one = getattr(outputs, name), getattr(expected, name)
        assert answer.dtype == np.float32
        np.testing.assert_allclose(answer, np.repeat(one + shift, batch, 0), rtol=1e-6)


def newer() -> str:
    return json.dumps({**json.loads(SPEC.to_json()), "depth": True})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            None,
            r"a\.onnx: not a blitznet model, its metadata has no 'blitznet'; make one with `blitznet train`",
        ),
        ("{}", r"a\.onnx: this is not a contract of a blitznet model"),
        ("cats", r"a\.onnx: this is not a contract of a blitznet model"),
        (newer(), r"a\.onnx: Spec has no \['depth'\]; the file is of a newer version, update blitznet"),
        (replace(SPEC, version=2).to_json(), r"a\.onnx: expected a contract of version 1, got 2; update blitznet"),
    ],
    ids=["no contract", "empty", "no JSON", "unknown key", "version"],
)
def test_a_file_that_is_not_ours(tmp_path: Path, text: str | None, message: str) -> None:
    write_onnx(tmp_path / "a.onnx", spec=None, text=text)
    with pytest.raises(ModelError, match=message):
        OnnxEngine(tmp_path / "a.onnx")


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"this is text")
    with pytest.raises(ModelError, match=r"a\.onnx: onnxruntime cannot open it, expected an ONNX model \(.*\)$"):
        OnnxEngine(tmp_path / "a.onnx")
    with pytest.raises(ModelError, match=r"b\.onnx: there is no such model file"):
        OnnxEngine(tmp_path / "b.onnx")


@pytest.mark.parametrize("threads", [0, -2])
def test_threads_that_cannot_be(tmp_path: Path, threads: int) -> None:
    with pytest.raises(UsageError, match=f"threads: expected 1 or more, got {threads}"):
        OnnxEngine(tmp_path / "a.onnx", threads=threads)


def test_a_file_to_be_computed_in_bfloat16(tmp_path: Path) -> None:
    write_onnx(tmp_path / "a.onnx", spec=replace(SPEC, precision="bfloat16"))
    message = r"a\.onnx: is to be computed in bfloat16, which onnxruntime does not do; use `--engine openvino`$"
    with pytest.raises(ModelError, match=message):
        OnnxEngine(tmp_path / "a.onnx")


@pytest.mark.parametrize("name", ["onnxruntime-cuda", "onnxruntime-tensorrt"])
def test_an_engine_that_is_not_installed(
    tmp_path: Path, name: Literal["onnxruntime-cuda", "onnxruntime-tensorrt"]
) -> None:
    write_onnx(tmp_path / "a.onnx")
    message = f"^engine: this onnxruntime has no {name}, it has onnxruntime; install onnxruntime-gpu for the others$"
    with pytest.raises(UsageError, match=message):
        OnnxEngine(tmp_path / "a.onnx", name=name)


def test_what_a_graphics_card_cannot_do_the_processors_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    there = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    cuda, tensorrt = execution_providers("onnxruntime-cuda", there), execution_providers("onnxruntime-tensorrt", there)
    assert [name for name, _ in cuda] == there[1:]
    assert [name for name, _ in tensorrt] == there
    assert tensorrt[0][1]["trt_engine_cache_path"] == str(tmp_path / "blitznet" / "onnxruntime-tensorrt")
