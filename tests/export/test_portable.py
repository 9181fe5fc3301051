"""Graphs that more runtimes read: no unused constants, static shapes, float pixels; the outputs stay the same."""

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from blitznet.api import open_engine
from blitznet.core.errors import UsageError
from blitznet.core.packaged_files import WEIGHTS
from blitznet.export.formats import InputType, export, require_exportable
from blitznet.export.portable import make_static, tidy
from blitznet.nets.blitznet import build
from blitznet.runtime.engine import EngineName
from support.small_networks import small_spec

SPEC = small_spec()
IMAGES = np.random.default_rng(0).integers(0, 256, (2, *SPEC.size, 3), np.uint8)


def graph_of(nodes: list[onnx.NodeProto], *, rank: int, **constants: NDArray[Any]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 4, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", *[None] * (rank - 1)])],
        initializer=[numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("", 18)])


def test_tidy_removes_what_engines_warn_about() -> None:
    scale, zero = np.ones(1, np.float32), np.zeros((), np.int8)
    model = graph_of(
        [
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["w"]),
            helper.make_node("Add", ["x", "w"], ["y"]),
        ],
        rank=3,
        q=np.ones(1, np.int8),
        scale=scale,
        zero=zero,
        unused=np.ones(3, np.float32),
    )
    tidy(model)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
    assert model.producer_version == importlib.metadata.version("blitznet")
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    assert set(tensors) == {"q", "scale", model.graph.node[0].input[2]}
    assert list(tensors[model.graph.node[0].input[2]].dims) == list(tensors["scale"].dims) == [1]
    onnx.checker.check_model(model, full_check=True)


def test_static_graphs_have_no_computed_shapes() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["batch"], start=0, end=1),
        helper.make_node("Constant", [], ["rest"], value_ints=[-1]),
        helper.make_node("Concat", ["batch", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["flat"]),
        helper.make_node("Constant", [], ["axes"], value_ints=[1, 2]),
        helper.make_node("Unsqueeze", ["flat", "axes"], ["y"]),
    ]
    model = graph_of(nodes, rank=4)
    del model.opset_import[1]
    x = np.random.default_rng(0).random((1, 4, 6), np.float32)
    before: Any = ReferenceEvaluator(model).run(None, {"x": x})
    make_static(model)
    assert [node.op_type for node in model.graph.node] == ["Reshape", "Unsqueeze", "Unsqueeze"]
    assert [size.dim_value for size in model.graph.output[0].type.tensor_type.shape.dim] == [1, 1, 1, 24]
    onnx.checker.check_model(model, full_check=True)
    after: Any = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_array_equal(after[0], before[0])


@pytest.mark.slow
@pytest.mark.parametrize("nms", [False, True])
@pytest.mark.parametrize(("static", "input_type"), [(True, "uint8"), (False, "float32"), (True, "float32")])
def test_portable_files_compute_the_same(tmp_path: Path, nms: bool, static: bool, input_type: InputType) -> None:
    torch.manual_seed(0)
    net = build(SPEC).eval()
    export(net, SPEC, tmp_path / "a.onnx", nms=nms)
    export(net, SPEC, tmp_path / "b.onnx", nms=nms, static=static, input_type=input_type)
    model = onnx.load(tmp_path / "b.onnx")
    onnx.checker.check_model(model, full_check=True)
    if static:
        assert not {node.op_type for node in model.graph.node} & {"Constant", "Shape"}
    engines: list[EngineName] = ["onnxruntime", "openvino"]
    for engine in engines:
        expected = open_engine(tmp_path / "a.onnx", engine=engine, threads=1).run(IMAGES)
        actual = open_engine(tmp_path / "b.onnx", engine=engine, threads=1).run(IMAGES)
        for name in expected.__slots__:
            np.testing.assert_allclose(getattr(actual, name), getattr(expected, name), atol=1e-4)


def test_torch_programs_have_neither() -> None:
    with pytest.raises(UsageError, match="--static, --input: expected --to onnx or openvino with them, got torch"):
        require_exportable(SPEC, "torch", nms=False, calibrated=False, static=True)


@pytest.mark.parametrize("path", sorted(WEIGHTS.glob("*.onnx")), ids=lambda path: path.stem)
def test_files_in_the_package_can_be_tidied(path: Path) -> None:
    model = onnx.load(path)
    tidy(model)
    used = {name for node in model.graph.node for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= used
    dims = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert dims[node.input[1]] == dims[node.input[2]], node.name
