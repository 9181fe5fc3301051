"""Kernels in 8 bits: their scales, how their numbers are rounded, and biases that make up for what that shifts."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from blitznet.core.arrays import Floats

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

_LARGEST = 127
_TINY = 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """The kernel of a convolution that is to be computed in 8 bits."""

    name: str
    node: str
    groups: int
    values: Floats
    """(O, I, kh, kw), I being those of one group"""
    scales: Floats
    """(O,)"""
    rounded: Floats
    """(O, I, kh, kw) what is computed with: whole multiples of the scales"""

    @property
    def error(self) -> Floats:
        """(O, I, kh, kw) what rounding to 8 bits adds."""
        return self.rounded - self.values

    @property
    def pointwise(self) -> bool:
        """Whether it is a matrix (O, I): 1x1, in one group."""
        return self.groups == 1 and self.values.shape[2:] == (1, 1)


def kernels(model: "ModelProto", spared: AbstractSet[str]) -> list[Kernel]:
    """The kernel of each convolution that is not spared, with its scales, rounded to the nearest."""
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type == "Conv" and node.name not in spared:
            values = numpy_helper.to_array(tensors[node.input[1]])
            groups = next((int(one.i) for one in node.attribute if one.name == "group"), 1)
            scales = kernel_scales(values)
            found.append(Kernel(node.input[1], node.name, groups, values, scales, nearest(values, scales)))
    return found


def nearest(values: Floats, scales: Floats) -> Floats:
    """A kernel (O, I, kh, kw), each number rounded to the nearest multiple of its channel's scale (O,)."""
    steps = scales[:, None, None, None]
    return np.asarray(np.round(values / steps) * steps, np.float32)


def kernel_scales(values: Floats) -> Floats:
    """(O,) scale of each channel of a kernel (O, I, kh, kw), so that no two of its numbers exceed 128 together.

    Processors without VNNI add products of unsigned and signed bytes by twos in 16 bits, where 255 * (|a| + |b|)
    must not exceed 32767, or the sum is cut off. onnxruntime and OpenVINO both compute so there, and pair numbers as
    they like; 7 bits for each number would do as well, and lose more. Depthwise kernels are never paired.
    """
    sizes = np.abs(values).reshape(len(values), -1)
    depthwise = values.shape[1] == 1
    limit = sizes.max(1) if depthwise else np.sort(sizes, 1)[:, -2:].sum(1)
    return np.asarray(np.maximum(limit, _TINY) / _LARGEST, np.float32)


def set_kernels(model: "ModelProto", found: Sequence[Kernel]) -> None:
    """Put the rounded kernels into the graph."""
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for kernel in found:
        tensors[kernel.name].CopyFrom(numpy_helper.from_array(kernel.rounded, kernel.name))


def correct_biases(model: "ModelProto", found: Sequence[Kernel], means: Mapping[str, Floats]) -> None:
    """Take out of each bias what the rounded kernel adds to its channel, on the average over many images.

    Left in, these shifts add up from layer to layer: with them taken out, the answers' error is half as large.
    means: by the name of a convolution's input, the mean (D,) of each of its channels.
    """
    from onnx import numpy_helper

    nodes = {node.name: node for node in model.graph.node}
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for kernel in found:
        node = nodes[kernel.node]
        old = numpy_helper.to_array(tensors[node.input[2]]) if len(node.input) > 2 else np.float32(0)
        new = (old - bias_shift(kernel, means[node.input[0]])).astype(np.float32)
        _set_bias(model, node, numpy_helper.from_array(new, f"{node.name}.bias"))


def bias_shift(kernel: Kernel, means: Floats) -> Floats:
    """(O,) what the kernel's rounding adds to its answers where each input channel (groups * I,) is at its mean."""
    error = kernel.error.sum((2, 3))  # (O, I)
    of_group = np.repeat(means.reshape(kernel.groups, -1), len(error) // kernel.groups, axis=0)  # (O, I)
    return np.asarray((error * of_group).sum(1), np.float32)


def _set_bias(model: "ModelProto", node: "NodeProto", bias: "TensorProto") -> None:
    """Give a convolution a bias of its own; the old one may be another's too."""
    model.graph.initializer.append(bias)
    kept = list(node.input[:2])
    del node.input[:]
    node.input.extend([*kept, bias.name])
