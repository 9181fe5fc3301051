import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from blitznet.core.arrays import Floats
from blitznet.export.kernels import (
    Kernel,
    bias_shift,
    correct_biases,
    find_kernels,
    kernel_scales,
    round_to_nearest,
    set_kernels,
)

RNG = np.random.default_rng(0)


def integers(values: Floats) -> NDArray[np.int64]:
    """(O, n) the kernel as multiples of its scales."""
    return np.round(values / kernel_scales(values)[:, None, None, None]).astype(np.int64).reshape(len(values), -1)


@pytest.mark.parametrize("seed", range(20))
def test_no_pair_of_integers_overflows_16_bits(seed: int) -> None:
    values = np.random.default_rng(seed).standard_t(2, (8, 5, 3, 3)).astype(np.float32)
    for channel in np.abs(integers(values)):
        pairs = channel[:, None] + channel[None] - 2 * np.diag(channel)  # an integer is not paired with itself
        assert 255 * pairs.max() <= np.iinfo(np.int16).max
        assert pairs.max() >= 126  # the range is used


def test_a_depthwise_kernel_uses_the_full_range() -> None:
    sizes = np.abs(integers(RNG.normal(size=(16, 1, 3, 3)).astype(np.float32)))
    assert (sizes.max(1) == 127).all()


def test_a_kernel_of_zeros() -> None:
    assert not integers(np.zeros((2, 3, 1, 1), np.float32)).any()


def test_bias_shift_equals_a_slow_version() -> None:
    values = RNG.normal(size=(6, 4, 3, 3)).astype(np.float32)
    scales = kernel_scales(values)
    kernel = Kernel("kernel", "node", 3, values, scales, round_to_nearest(values, scales))
    means = RNG.normal(size=12).astype(np.float32)
    for out in range(6):
        scale = float(kernel.scales[out])
        total = 0.0
        for channel in range(4):
            mean = means[out // 2 * 4 + channel]
            for value in values[out, channel].ravel():
                total += (round(float(value) / scale) * scale - float(value)) * float(mean)
        assert bias_shift(kernel, means)[out] == pytest.approx(total, abs=1e-4)


def graph(values: Floats, *, bias: bool) -> onnx.ModelProto:
    """One convolution of images (B, h, w, 3)."""
    tensors = [numpy_helper.from_array(values, "kernel")]
    if bias:
        tensors.append(numpy_helper.from_array(np.ones(len(values), np.float32), "bias"))
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["first"], "transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", *(tensor.name for tensor in tensors)], ["last"], "conv"),
    ]
    inputs = [helper.make_tensor_value_info("images", TensorProto.UINT8, ["B", 8, 8, 3])]
    outputs = [helper.make_tensor_value_info("last", TensorProto.FLOAT, None)]
    model = helper.make_model(helper.make_graph(nodes, "small", inputs, outputs, tensors), ir_version=9)
    model.opset_import[0].version = 18
    return model


def channel_means(model: onnx.ModelProto, images: NDArray[np.uint8]) -> Floats:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: Floats = session.run(None, {"images": images})[0]
    return np.asarray(outputs.mean((0, 2, 3)))


@pytest.mark.parametrize("bias", [True, False])
def test_correct_biases_keeps_the_mean_of_each_channel(bias: bool) -> None:
    values = RNG.normal(size=(6, 3, 1, 1)).astype(np.float32)
    images = RNG.integers(0, 256, (5, 8, 8, 3), np.uint8)
    model = graph(values, bias=bias)
    before = channel_means(model, images)
    kernels = find_kernels(model, set())
    correct_biases(model, kernels, {"first": images.mean((0, 1, 2)).astype(np.float32)})
    shifted = channel_means(model, images)
    set_kernels(model, kernels)
    assert np.abs(shifted - before).max() > 0.1
    np.testing.assert_allclose(channel_means(model, images), before, atol=1e-3)


def test_find_kernels_skips_excluded_convolutions() -> None:
    assert find_kernels(graph(np.ones((1, 3, 1, 1), np.float32), bias=False), {"conv"}) == []
