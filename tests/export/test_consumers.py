"""Exported files in the engines of others: each computes what onnxruntime computes.

Files have static shapes, which these engines need. The packaged model and an untrained network of the default kind
are tried. An engine that is not installed is skipped; the extra `slow` has those that are tested regularly.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from blitznet.core.arrays import RGBArray
from blitznet.core.image import ImageSource
from blitznet.core.model_paths import find_weights
from blitznet.core.models import DEFAULT, get_spec
from blitznet.core.spec import Spec
from blitznet.export.formats import export
from blitznet.nets.blitznet import build
from blitznet.nets.model_files import load_model
from blitznet.runtime.image_paths import find_images
from blitznet.runtime.preprocess import preprocess_batch

Array = NDArray[Any]
Run = Callable[[Path, RGBArray], Sequence[Array]]
"""the outputs of a file for a batch of one image"""

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # warnings of the engines
MAX_DIFFERENCE = 1e-4
"""largest difference of raw outputs in float32, in standard deviations of the output, as in `export/verify.py`"""
MAX_BOX_DIFFERENCE, MAX_SCORE_DIFFERENCE, MIN_EQUAL_PIXELS = 1e-4, 1e-4, 0.999
"""limits of files with NMS inside; boxes are fractions of the image"""


def run_onnxruntime(path: Path, pixels: RGBArray) -> Sequence[Array]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs: Sequence[Array] = session.run(None, {"images": pixels})
    return outputs


def run_opencv(path: Path, pixels: RGBArray) -> Sequence[Array]:
    cv2 = pytest.importorskip("cv2", minversion="5.0")
    net = cv2.dnn.readNetFromONNX(str(path))
    net.setInput(pixels)
    outputs: Sequence[Array] = net.forward(_output_names(path))
    return outputs


def run_tract(path: Path, pixels: RGBArray) -> Sequence[Array]:
    tract = pytest.importorskip("tract")
    model = tract.onnx().load(str(path)).into_model()
    return [output.to_numpy() for output in model.into_runnable().run([pixels])]


def run_tvm(path: Path, pixels: RGBArray) -> Sequence[Array]:
    tvm = pytest.importorskip("tvm")
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    module = from_onnx(onnx.load(path), keep_params_in_input=False)
    machine = relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())
    outputs = machine["main"](tvm.runtime.tensor(pixels))
    return [output.numpy() for output in outputs]


ENGINES: dict[str, Run] = {"opencv": run_opencv, "tract": run_tract, "tvm": run_tvm}


def _output_names(path: Path) -> list[str]:
    return [output.name for output in onnx.load(path).graph.output]


def network(name: str) -> tuple[nn.Module, Spec]:
    if name == "packaged":
        return load_model(find_weights(DEFAULT))
    torch.manual_seed(0)
    spec = get_spec(DEFAULT)
    return build(spec).eval(), spec


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the exported files, which are written when they are needed first."""
    return tmp_path_factory.mktemp("files")


def exported(folder: Path, name: str, *, nms: bool = False) -> Path:
    path = folder / f"{name}{'-nms' * nms}.onnx"
    if not path.exists():
        export(*network(name), path, static=True, nms=nms)
    return path


def pixels_of(path: Path) -> list[RGBArray]:
    """The sample images at the input size of a file, each as a batch."""
    shape = onnx.load(path).graph.input[0].type.tensor_type.shape.dim
    spec = get_spec(DEFAULT)
    assert [size.dim_value for size in shape] == [1, *spec.size, 3]
    return [preprocess_batch([ImageSource(image)], spec) for image in find_images()]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["packaged", "untrained"])
def test_raw_outputs_are_the_same(name: str, engine: str, folder: Path) -> None:
    path = exported(folder, name)
    for pixels in pixels_of(path):
        expected, actual = run_onnxruntime(path, pixels), ENGINES[engine](path, pixels)
        for output, a, b in zip(_output_names(path), expected, actual, strict=True):
            assert a.size == b.size, output
            assert np.abs(a - b.reshape(a.shape)).max() <= MAX_DIFFERENCE * a.std(), output


@pytest.mark.parametrize("engine", ["opencv"])
def test_detections_are_the_same(engine: str, folder: Path) -> None:
    path = exported(folder, "packaged", nms=True)
    for pixels in pixels_of(path):
        expected, actual = (
            dict(zip(_output_names(path), outputs, strict=True))
            for outputs in (run_onnxruntime(path, pixels), ENGINES[engine](path, pixels))
        )
        count = int(expected["count"][0])
        assert count == int(actual["count"].reshape(-1)[0]) > 0
        rows = {name: (expected[name][0, :count], actual[name][0, :count]) for name in ("boxes", "scores", "labels")}
        assert np.abs(np.subtract(*rows["boxes"])).max() <= MAX_BOX_DIFFERENCE
        assert np.abs(np.subtract(*rows["scores"])).max() <= MAX_SCORE_DIFFERENCE
        np.testing.assert_array_equal(*rows["labels"])
        assert (expected["class_map"] == actual["class_map"].reshape(expected["class_map"].shape)).mean() >= (
            MIN_EQUAL_PIXELS
        )


@pytest.mark.parametrize("name", ["packaged", "untrained"])
def test_executorch_runs_the_torch_program(name: str, tmp_path: Path) -> None:
    exir = pytest.importorskip("executorch.exir")
    from executorch.runtime import Runtime

    net, spec = network(name)
    export(net, spec, tmp_path / "a.pt2", "torch")
    program = torch.export.load(tmp_path / "a.pt2")
    images = [preprocess_batch([ImageSource(path)], spec) for path in find_images()]
    static = torch.export.export(program.module(), (torch.from_numpy(images[0]),))
    content = exir.to_edge_transform_and_lower(static).to_executorch().buffer
    method = Runtime.get().load_program(content).load_method("forward")
    for pixels in images:
        tensor = torch.from_numpy(pixels)
        with torch.inference_mode():
            expected = program.module()(tensor)
        for a, b in zip(expected, method.execute([tensor]), strict=True):
            assert float((a - b).abs().max()) <= MAX_DIFFERENCE * float(a.std())


@pytest.mark.parametrize("name", ["packaged", "untrained"])
def test_litert_runs_the_torch_program(name: str, tmp_path: Path) -> None:
    litert_torch = pytest.importorskip(
        "litert_torch", reason="litert-torch is not installed; it needs its own environment"
    )
    from ai_edge_litert.interpreter import Interpreter

    net, spec = network(name)
    export(net, spec, tmp_path / "a.pt2", "torch")
    program = torch.export.load(tmp_path / "a.pt2").module()
    images = [preprocess_batch([ImageSource(path)], spec) for path in find_images()]
    litert_torch.convert(program, (torch.from_numpy(images[0]),)).export(str(tmp_path / "a.tflite"))
    interpreter = Interpreter(str(tmp_path / "a.tflite"), num_threads=1)
    run = interpreter.get_signature_runner()
    for pixels in images:
        with torch.inference_mode():
            expected = program(torch.from_numpy(pixels))
        outputs = run(args_0=pixels)
        for index, a in enumerate(expected):
            b = outputs[f"output_{index}"]
            assert np.abs(a.numpy() - b).max() <= MAX_DIFFERENCE * float(a.std())
