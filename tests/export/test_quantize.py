from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from blitznet.core.errors import BlitzNetError, UsageError
from blitznet.core.outputs import Outputs
from blitznet.core.spec import Spec
from blitznet.export.float_parts import LOGIT_MARGIN, select_float_parts
from blitznet.export.folding import fold_constants
from blitznet.export.formats import export
from blitznet.export.quantize import quantize_onnx
from blitznet.nets.blitznet import build
from blitznet.runtime.engine import Engine
from blitznet.runtime.onnx_engine import OnnxEngine
from blitznet.runtime.openvino_engine import OpenVinoEngine
from support import synthetic_data, tiny_models
from support.small_networks import fpn_spec

PAPER, LITE = tiny_models.specs()
SUMS = replace(LITE, network=replace(LITE.network, ssd_head=True, detection_prior=True))
"""a network whose last convolutions are summed"""
PYRAMID = replace(fpn_spec(channels=16), classes=PAPER.classes, size=PAPER.size)
"""a network whose input has the same normalization in all channels"""
IMAGES = [drawing.sample.image.resize(LITE.size) for drawing in synthetic_data.draw(12, seed=0)]


def make_network(spec: Spec) -> nn.Module:
    """A network whose batch norms have statistics of the images, so that activations have a realistic range."""
    torch.manual_seed(0)
    net = build(spec)
    pixels = torch.from_numpy(np.stack(IMAGES)).permute(0, 3, 1, 2) / 255 - 0.45
    with torch.no_grad():
        for _ in range(30):
            net.train()(pixels)
    return net.eval()


@pytest.fixture(scope="module", params=[PAPER, SUMS, PYRAMID], ids=["paper", "sums", "pyramid"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Spec]:
    """A float32 file, the int8 file of it, and the spec of the first."""
    folder, spec = tmp_path_factory.mktemp("quantize"), request.param
    source, target = folder / "float32.onnx", folder / "int8.onnx"
    export(make_network(spec), spec, source)
    quantize_onnx(source, target, IMAGES, spec)
    return source, target, spec


def run(engine: Engine, images: NDArray[np.uint8]) -> Outputs:
    outputs = engine.run(images)
    assert isinstance(outputs, Outputs)
    return outputs


def max_difference(a: Outputs, b: Outputs) -> float:
    """Largest root mean square difference of an output, in its standard deviations."""
    pairs = [(x.offsets, relevant(x.logits, -1), relevant(x.segmentation_logits, 1)) for x in (a, b)]
    return float(max(np.sqrt(((x - y) ** 2).mean()) / x.std() for x, y in zip(*pairs, strict=True)))


def relevant(logits: NDArray[np.float32] | None, axis: int) -> NDArray[np.float32]:
    """Logits with those raised that are far below the largest."""
    assert logits is not None
    return np.asarray(np.maximum(logits, logits.max(axis, keepdims=True) - LOGIT_MARGIN), np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("engine", [OnnxEngine, OpenVinoEngine])
def test_int8_outputs_are_near_those_of_float32_in_both_runtimes(
    files: tuple[Path, Path, Spec], engine: type[OnnxEngine] | type[OpenVinoEngine]
) -> None:
    source, target, spec = files
    images = np.stack([drawing.sample.image.resize(LITE.size) for drawing in synthetic_data.draw(3, seed=9)])
    before, after = run(OnnxEngine(source, 1), images), run(engine(target, 1), images)
    # Of untrained networks; trained ones have a quarter of it or less. Depth adds to it: the pyramid has MobileNetV2.
    limit = 0.7 if spec is PYRAMID else 0.2
    assert 0 < max_difference(before, after) < limit


def test_only_the_precision_of_the_metadata_changes(files: tuple[Path, Path, Spec]) -> None:
    source, target, spec = files
    metadata = [{entry.key: entry.value for entry in onnx.load(file).metadata_props} for file in (source, target)]
    assert OnnxEngine(target, 1).spec == replace(spec, precision="int8")
    assert {key for key in metadata[0] if metadata[0][key] != metadata[1][key]} == {"blitznet", "precision"}
    assert metadata[0].keys() == metadata[1].keys()


def test_no_pair_of_products_overflows_16_bits(files: tuple[Path, Path, Spec]) -> None:
    """Two products of an unsigned and a signed byte must fit into 16 bits, whichever two the engine pairs."""
    initializers = onnx.load(files[1]).graph.initializer
    kernels = [numpy_helper.to_array(tensor) for tensor in initializers if len(tensor.dims) == 4]
    int8_kernels = [kernel.astype(np.int64) for kernel in kernels if kernel.dtype == np.int8]
    assert len(int8_kernels) > 0.5 * len(kernels)
    for kernel in int8_kernels:
        if kernel.shape[1] > 1:
            largest = np.sort(np.abs(kernel.reshape(len(kernel), -1)))[:, -2:]
            assert 255 * largest.sum(1).max() <= np.iinfo(np.int16).max


def test_the_start_stays_in_float_unless_pixels_are_read_in_8_bits(files: tuple[Path, Path, Spec]) -> None:
    source, target, spec = files
    model = onnx.load(target)
    producers = {name: node for node in model.graph.node for name in node.output}
    floats = select_float_parts(fold_constants(source), pixels=spec is PYRAMID)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    in_float = {node.name for node in convolutions if node.input[1] not in producers}
    assert in_float == {node.name for node in convolutions} & floats.nodes
    assert bool(in_float) == (spec is not PYRAMID)
    assert len(in_float) < len(convolutions)


def test_outputs_of_last_convolutions_are_quantized_unless_they_are_summed(files: tuple[Path, Path, Spec]) -> None:
    source, target, spec = files
    model, floats = onnx.load(target), select_float_parts(fold_constants(source), pixels=spec is PYRAMID)
    quantized = {node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    convolutions = {node.name: node for node in model.graph.node if node.op_type == "Conv"}
    unquantized = {name for name, node in convolutions.items() if node.output[0] not in quantized}
    op_types = {node.output[0]: node.op_type for node in model.graph.node}
    assert bool(floats.outputs) == (spec is SUMS)
    assert floats.outputs == unquantized - floats.nodes
    assert {op_types[convolutions[name].input[1]] for name in floats.outputs} <= {"DequantizeLinear"}


def test_pixels_are_read_without_arithmetic(files: tuple[Path, Path, Spec]) -> None:
    _, target, spec = files
    model = onnx.load(target)
    users = {name: node for node in model.graph.node if node.op_type != "Shape" for name in node.input}
    node, op_types = users["images"], []
    while node.op_type != "Conv":
        op_types.append(node.op_type)
        node = users[node.output[0]]
    assert (op_types == ["Transpose", "DequantizeLinear"]) == (spec is PYRAMID)


def test_activations_are_unsigned(files: tuple[Path, Path, Spec]) -> None:
    model = onnx.load(files[1])
    dtypes = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    zero_points = {dtypes[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    assert zero_points == {onnx.TensorProto.UINT8}


def test_an_image_has_the_same_outputs_in_a_batch(files: tuple[Path, Path, Spec]) -> None:
    engine = OnnxEngine(files[1], 1)
    batch, single = run(engine, np.stack(IMAGES[:3])), run(engine, IMAGES[1][None])
    assert batch.logits is not None
    assert single.logits is not None
    np.testing.assert_allclose(batch.logits[1:2], single.logits, atol=1e-5)


@pytest.mark.slow
def test_the_same_images_give_the_same_file(files: tuple[Path, Path, Spec], tmp_path: Path) -> None:
    quantize_onnx(files[0], tmp_path / "again.onnx", IMAGES, files[2])
    assert (tmp_path / "again.onnx").read_bytes() == files[1].read_bytes()


def test_fold_constants_removes_batch_norms_without_changing_outputs(
    files: tuple[Path, Path, Spec], tmp_path: Path
) -> None:
    model = fold_constants(files[0])
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert {opset.domain for opset in model.opset_import} == {""}
    onnx.save(model, tmp_path / "folded.onnx")
    images = np.stack(IMAGES)
    assert (
        max_difference(run(OnnxEngine(files[0], 1), images), run(OnnxEngine(tmp_path / "folded.onnx", 1), images))
        < 1e-4
    )


def test_calibration_images_must_fit(files: tuple[Path, Path, Spec], tmp_path: Path) -> None:
    target = tmp_path / "int8.onnx"
    with pytest.raises(UsageError, match=r"int8\.onnx: expected 100 or more calibration images, got none"):
        quantize_onnx(files[0], target, [], files[2])
    with pytest.raises(BlitzNetError, match=r"calibration image: expected shape \(64, 64, 3\), got \(5, 64, 3\)"):
        quantize_onnx(files[0], target, [IMAGES[0][:5]], files[2])
    assert not target.exists()
