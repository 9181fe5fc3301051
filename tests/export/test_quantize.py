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
from blitznet.export.folding import folded
from blitznet.export.onnx import export_onnx
from blitznet.export.quantize import in_float, quantize_onnx
from blitznet.nets.blitznet import build
from blitznet.runtime.engine import Engine
from blitznet.runtime.onnx_engine import OnnxEngine
from blitznet.runtime.openvino_engine import OpenVinoEngine
from support import synthetic_data, tiny_models

PAPER, LITE = tiny_models.specs()
IMAGES = [drawing.sample.image.resize(LITE.size) for drawing in synthetic_data.draw(12, seed=0)]


def network(spec: Spec) -> nn.Module:
    """One whose batch norms have seen the images, so that what goes on inside has a sensible range."""
    torch.manual_seed(0)
    net = build(spec)
    pixels = torch.from_numpy(np.stack(IMAGES)).permute(0, 3, 1, 2) / 255 - 0.45
    with torch.no_grad():
        for _ in range(30):
            net.train()(pixels)
    return net.eval()


@pytest.fixture(scope="module", params=[PAPER, LITE], ids=["paper", "lite"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Spec]:
    """A float32 file, the same in 8 bits, and the contract of the first."""
    folder, spec = tmp_path_factory.mktemp("quantize"), request.param
    source, target = folder / "float32.onnx", folder / "int8.onnx"
    export_onnx(network(spec), spec, source)
    quantize_onnx(source, target, IMAGES, spec)
    return source, target, spec


def run(engine: Engine, images: NDArray[np.uint8]) -> Outputs:
    given = engine.run(images)
    assert isinstance(given, Outputs)
    return given


def apart(one: Outputs, other: Outputs) -> float:
    """Largest root mean square difference of an answer, in its deviations."""
    pairs = [(getattr(one, name), getattr(other, name)) for name in ("offsets", "logits", "class_map")]
    return float(max(np.sqrt(((a - b) ** 2).mean()) / a.std() for a, b in pairs))


@pytest.mark.parametrize("engine", [OnnxEngine, OpenVinoEngine])
def test_it_answers_nearly_the_same_in_both_runtimes(
    files: tuple[Path, Path, Spec], engine: type[OnnxEngine] | type[OpenVinoEngine]
) -> None:
    source, target, _ = files
    images = np.stack([drawing.sample.image.resize(LITE.size) for drawing in synthetic_data.draw(3, seed=9)])
    before, after = run(OnnxEngine(source, 1), images), run(engine(target, 1), images)
    assert 0 < apart(before, after) < 0.2  # of a network that has learnt nothing; a trained one's is a quarter of it


def test_the_contract_says_int8_and_nothing_else_is_new(files: tuple[Path, Path, Spec]) -> None:
    source, target, spec = files
    notes = [{one.key: one.value for one in onnx.load(file).metadata_props} for file in (source, target)]
    assert OnnxEngine(target, 1).spec == replace(spec, precision="int8")
    assert {key for key in notes[0] if notes[0][key] != notes[1][key]} == {"blitznet", "precision"}
    assert notes[0].keys() == notes[1].keys()


def test_kernels_are_bytes_that_any_processor_can_add(files: tuple[Path, Path, Spec]) -> None:
    """Two products of an unsigned and a signed byte must fit into 16 bits, whichever two are paired."""
    kernels = [numpy_helper.to_array(one) for one in onnx.load(files[1]).graph.initializer if len(one.dims) == 4]
    bytes_ = [one.astype(np.int64) for one in kernels if one.dtype == np.int8]
    assert len(bytes_) > 0.5 * len(kernels)
    for one in bytes_:
        if one.shape[1] > 1:
            largest = np.sort(np.abs(one.reshape(len(one), -1)))[:, -2:]
            assert 255 * largest.sum(1).max() <= np.iinfo(np.int16).max


def test_pixels_and_answers_stay_in_float(files: tuple[Path, Path, Spec]) -> None:
    source, target, _ = files
    model = onnx.load(target)
    made_by = {name: node for node in model.graph.node for name in node.output}
    spared = in_float(folded(source))
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    floats = {node.name for node in convolutions if node.input[1] not in made_by}
    assert floats == {node.name for node in convolutions} & spared.nodes
    assert 1 <= len(floats) < len(convolutions)


def test_last_pointwise_convolutions_answer_in_float(files: tuple[Path, Path, Spec]) -> None:
    source, target, spec = files
    model, spared = onnx.load(target), in_float(folded(source))
    rounded = {node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    answering = [node for node in model.graph.node if node.name in spared.answers]
    assert bool(answering) == (spec is LITE)  # the paper's last ones are 3x3
    assert len(answering) == len(spared.answers)
    assert not rounded & {node.output[0] for node in answering}
    kernels = {one.output[0]: one.op_type for one in model.graph.node}
    assert {kernels[node.input[1]] for node in answering} <= {"DequantizeLinear"}


def test_activations_are_unsigned(files: tuple[Path, Path, Spec]) -> None:
    model = onnx.load(files[1])
    zeros = {one.name: one.data_type for one in model.graph.initializer}
    kinds = {zeros[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    assert kinds == {onnx.TensorProto.UINT8}


def test_an_image_is_answered_alike_alone_and_among_others(files: tuple[Path, Path, Spec]) -> None:
    engine = OnnxEngine(files[1], 1)
    together, alone = run(engine, np.stack(IMAGES[:3])), run(engine, IMAGES[1][None])
    assert together.logits is not None
    assert alone.logits is not None
    np.testing.assert_allclose(together.logits[1:2], alone.logits, atol=1e-5)


def test_the_same_images_give_the_same_file(files: tuple[Path, Path, Spec], tmp_path: Path) -> None:
    quantize_onnx(files[0], tmp_path / "again.onnx", IMAGES, files[2])
    assert (tmp_path / "again.onnx").read_bytes() == files[1].read_bytes()


def test_folding_changes_no_answer_and_leaves_no_batch_norm(files: tuple[Path, Path, Spec], tmp_path: Path) -> None:
    model = folded(files[0])
    kinds = {node.op_type for node in model.graph.node}
    assert "BatchNormalization" not in kinds
    assert {one.domain for one in model.opset_import} == {""}
    onnx.save(model, tmp_path / "folded.onnx")
    images = np.stack(IMAGES)
    assert apart(run(OnnxEngine(files[0], 1), images), run(OnnxEngine(tmp_path / "folded.onnx", 1), images)) < 1e-4


def test_mistakes(files: tuple[Path, Path, Spec], tmp_path: Path) -> None:
    target = tmp_path / "int8.onnx"
    with pytest.raises(UsageError, match=r"int8\.onnx: expected images to calibrate on, 100 or more, got none"):
        quantize_onnx(files[0], target, [], files[2])
    with pytest.raises(BlitzNetError, match=r"image to calibrate on: expected shape \(64, 64, 3\), got \(5, 64, 3\)"):
        quantize_onnx(files[0], target, [IMAGES[0][:5]], files[2])
    assert not target.exists()
