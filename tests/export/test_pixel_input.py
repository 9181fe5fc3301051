"""Pixels as the input of the first convolution: the same function, with the normalization in its bias."""

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from blitznet.core.spec import Spec
from blitznet.export.pixel_input import normalize_in_kernel
from support.small_networks import fpn_spec, small_spec

SIZE = 7


def make_graph(mean: float, std: float) -> onnx.ModelProto:
    """Images (1, h, w, 3) uint8 -> (x / 255 - mean) / std -> a padded 3x3 convolution."""
    rng = np.random.default_rng(0)
    constants = {
        "divisor": np.float32(255),
        "mean": np.float32(mean),
        "std": np.float32(std),
        "kernel": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "bias": rng.normal(size=4).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["a"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Div", ["a", "divisor"], ["b"], name="div"),
        helper.make_node("Sub", ["b", "mean"], ["c"], name="sub"),
        helper.make_node("Div", ["c", "std"], ["d"], name="div2"),
        helper.make_node("Transpose", ["d"], ["e"], name="transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["e", "kernel", "bias"], ["out"], name="conv", pads=[1, 1, 1, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, [1, SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 4, SIZE, SIZE])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(model: onnx.ModelProto, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: NDArray[np.float32] = session.run(None, {"images": images})[0]
    return outputs


def spec_with(mean: float, std: float) -> Spec:
    base = fpn_spec()
    return Spec(base.name, base.classes, base.size, base.anchors, base.network, (mean,) * 3, (std,) * 3)


@pytest.mark.parametrize(("mean", "std", "zero_point"), [(0.5, 0.5, 128), (127 / 255, 128 / 255, 127), (0.0, 1.0, 0)])
def test_the_convolution_computes_the_same(mean: float, std: float, zero_point: int) -> None:
    model = make_graph(mean, std)
    images = np.random.default_rng(1).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)
    expected = run(model, images)
    pixels = normalize_in_kernel(model, spec_with(mean, std))
    assert pixels is not None
    assert (pixels.tensor, pixels.zero_point) == ("e", zero_point)
    assert (pixels.low, pixels.high) == pytest.approx((-zero_point / 255 / std, (255 - zero_point) / 255 / std))
    onnx.checker.check_model(model)
    actual = run(model, images)
    np.testing.assert_allclose(actual[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-4)
    kernel_sums = np.abs(numpy_helper.to_array(model.graph.initializer[3])).sum((1, 2, 3))
    at_border = np.abs(actual - expected).max((0, 2, 3))
    assert np.all(at_border <= 0.5 / 255 / std * kernel_sums + 1e-4)


def test_other_normalizations_and_graphs_are_left_as_they_are() -> None:
    model = make_graph(0.5, 0.5)
    before = model.SerializeToString()
    assert normalize_in_kernel(model, small_spec()) is None  # the mean differs between channels
    assert model.SerializeToString() == before
    pooled = make_graph(0.5, 0.5)
    pooled.graph.node[4].output[0] = "f"
    pooled.graph.node.insert(5, helper.make_node("Relu", ["f"], ["e"], name="relu"))
    assert normalize_in_kernel(pooled, spec_with(0.5, 0.5)) is None
