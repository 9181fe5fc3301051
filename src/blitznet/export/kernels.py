"""Convolution kernels in 8 bits: scales, rounding, and the correction of biases for the rounding error."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from blitznet.core.arrays import Floats

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

_MAX_INT8 = 127
_MIN_SCALE = 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """The kernel of a convolution that will be computed in 8 bits."""

    name: str
    """name of its initializer"""
    node: str
    """name of its convolution"""
    groups: int
    values: Floats
    """(O, I, kh, kw) exact float weights; O output channels, I input channels of one group"""
    scales: Floats
    """(O,) size of one integer step of each output channel"""
    rounded: Floats
    """(O, I, kh, kw) float weights that the convolution computes with, integer multiples of the scales"""

    @property
    def error(self) -> Floats:
        """(O, I, kh, kw) rounded minus exact weights."""
        return self.rounded - self.values

    @property
    def pointwise(self) -> bool:
        """Whether it is a matrix (O, I): 1x1, in one group."""
        return self.groups == 1 and self.values.shape[2:] == (1, 1)


def find_kernels(model: "ModelProto", excluded: AbstractSet[str]) -> list[Kernel]:
    """The kernels of a graph's convolutions, rounded to nearest.

    Args:
        model: The graph.
        excluded: Names of convolutions to skip.

    Returns:
        The kernels in the order of the convolutions.
    """
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    kernels = []
    for node in model.graph.node:
        if node.op_type == "Conv" and node.name not in excluded:
            values = numpy_helper.to_array(tensors[node.input[1]])
            groups = next((int(attribute.i) for attribute in node.attribute if attribute.name == "group"), 1)
            scales = kernel_scales(values)
            kernels.append(Kernel(node.input[1], node.name, groups, values, scales, round_to_nearest(values, scales)))
    return kernels


def round_to_nearest(values: Floats, scales: Floats) -> Floats:
    """A kernel (O, I, kh, kw) with each value rounded to the nearest multiple of its output channel's scale (O,)."""
    steps = scales[:, None, None, None]
    return np.asarray(np.round(values / steps) * steps, np.float32)


def kernel_scales(values: Floats) -> Floats:
    """Scales of a kernel's output channels. The magnitudes of any two integers of a channel add up to at most 128.

    Processors without VNNI add products of unsigned and signed bytes in pairs, in 16 bits. There, 255 * (|a| + |b|)
    must not exceed 32767, or the sum saturates. On such processors, onnxruntime
    and OpenVINO both compute this way, and they choose which weights form a pair. Integers of 7 bits would be safe too,
    with a larger error. Depthwise kernels are never paired; their largest integer is 127.

    Args:
        values: The kernel (O, I, kh, kw).

    Returns:
        The scale of each output channel (O,).
    """
    magnitudes = np.abs(values).reshape(len(values), -1)  # (O, I kh kw)
    depthwise = values.shape[1] == 1
    # The two largest add up to 127 steps; rounding adds at most half a step to each.
    limits = magnitudes.max(1) if depthwise else np.sort(magnitudes, 1)[:, -2:].sum(1)  # (O,)
    return np.asarray(np.maximum(limits, _MIN_SCALE) / _MAX_INT8, np.float32)


def set_kernels(model: "ModelProto", kernels: Sequence[Kernel]) -> None:
    """Replace the kernels of a graph with the rounded ones, in place."""
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for kernel in kernels:
        tensors[kernel.name].CopyFrom(numpy_helper.from_array(kernel.rounded, kernel.name))


def correct_biases(model: "ModelProto", kernels: Sequence[Kernel], means: Mapping[str, Floats]) -> None:
    """Subtract from each bias the mean error that the rounded kernel adds to its output channel.

    Otherwise these errors accumulate from layer to layer; the correction halves the error of the outputs.

    Args:
        model: The graph; it is changed.
        kernels: Kernels of its convolutions.
        means: Name of a convolution's input -> mean of each of its channels (groups * I,) over the calibration data.
    """
    from onnx import numpy_helper

    nodes = {node.name: node for node in model.graph.node}
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for kernel in kernels:
        node = nodes[kernel.node]
        old = numpy_helper.to_array(tensors[node.input[2]]) if len(node.input) > 2 else np.float32(0)
        new = (old - bias_shift(kernel, means[node.input[0]])).astype(np.float32)
        _set_bias(model, node, numpy_helper.from_array(new, f"{node.name}.bias"))


def bias_shift(kernel: Kernel, means: Floats) -> Floats:
    """Mean rounding error of each output channel (O,), from the means of the input channels (groups * I,)."""
    error = kernel.error.sum((2, 3))  # (O, I)
    group_means = np.repeat(means.reshape(kernel.groups, -1), len(error) // kernel.groups, axis=0)  # (O, I)
    return np.asarray((error * group_means).sum(1), np.float32)


def _set_bias(model: "ModelProto", node: "NodeProto", bias: "TensorProto") -> None:
    """Give a convolution its own bias; the old one may be shared with other nodes."""
    model.graph.initializer.append(bias)
    inputs = list(node.input[:2])
    del node.input[:]
    node.input.extend([*inputs, bias.name])
