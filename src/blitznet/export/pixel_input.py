"""Pixels as the 8-bit input of the first convolution, with the normalization in its kernel and bias."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from blitznet.core.spec import Spec
from blitznet.runtime.engine import INPUT_NAME

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_NORMALIZATION_OPS = ("Cast", "Sub", "Div", "Mul", "Add")
_MAX_PIXEL = 255


@dataclass(frozen=True, slots=True)
class PixelInput:
    """Pixels x as an 8-bit tensor of the network: its value is scale * (x - zero_point)."""

    tensor: str
    """name of the input of the first convolution (B, 3, h, w)"""
    scale: float
    zero_point: int
    """0 to 255"""

    @property
    def low(self) -> float:
        """Value of the pixel 0."""
        return -self.zero_point * self.scale

    @property
    def high(self) -> float:
        """Value of the pixel 255."""
        return (_MAX_PIXEL - self.zero_point) * self.scale


def normalize_in_kernel(model: "ModelProto", spec: Spec) -> PixelInput | None:
    """Let the first convolution read pixels with an integer zero point; its bias contains the rest of the mean.

    The function of the graph is the same, but at the border: padding has the value of the zero point, which is at most
    half a gray level from the mean.

    Args:
        model: The folded graph; its first convolution and normalization are changed.
        spec: The spec.

    Returns:
        The input of the first convolution. None if the channels have different normalizations, which one scale and
        zero point cannot express, or if there is something else between the image and the convolution.
    """
    from onnx import helper, numpy_helper

    nodes = list(_from_input_to_convolution(model))
    if len({*spec.mean}) > 1 or len({*spec.std}) > 1 or not nodes:
        return None
    *before, conv = nodes
    (transpose,) = [node for node in before if node.op_type == "Transpose"]
    mean = _MAX_PIXEL * spec.mean[0]
    pixels = PixelInput(conv.input[0], 1 / (_MAX_PIXEL * spec.std[0]), round(mean))
    for node in before:
        model.graph.node.remove(node)
    constants = {"zero_point": pixels.zero_point, "scale": pixels.scale}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value, np.float32), f"pixels.{name}") for name, value in constants.items()
    )
    chain = (
        helper.make_node("Cast", [INPUT_NAME], ["pixels.float"], name="pixels.cast", to=1),
        helper.make_node("Sub", ["pixels.float", "pixels.zero_point"], ["pixels.shifted"], name="pixels.shift"),
        helper.make_node("Mul", ["pixels.shifted", "pixels.scale"], ["pixels.scaled"], name="pixels.multiply"),
        helper.make_node("Transpose", ["pixels.scaled"], [pixels.tensor], name=transpose.name, perm=[0, 3, 1, 2]),
    )
    for index, node in enumerate(chain):
        model.graph.node.insert(index, node)
    _shift_bias(model, conv, pixels.scale * (pixels.zero_point - mean))
    return pixels


def read_pixels(model: "ModelProto", pixels: PixelInput) -> None:
    """Let the first convolution of a quantized graph read the pixels themselves, in place.

    Args:
        model: The graph, with QuantizeLinear and DequantizeLinear on `pixels.tensor`.
        pixels: What `normalize_in_kernel` returned.
    """
    nodes = model.graph.node
    (quantize,) = [node for node in nodes if node.op_type == "QuantizeLinear" and node.input[0] == pixels.tensor]
    (transpose,) = [node for node in nodes if pixels.tensor in node.output]
    transpose.input[0], transpose.output[0] = INPUT_NAME, quantize.output[0]
    for node in [node for node in nodes if node.name.startswith("pixels.")] + [quantize]:
        nodes.remove(node)
    for name in ("pixels.zero_point", "pixels.scale"):
        model.graph.initializer.remove(next(tensor for tensor in model.graph.initializer if tensor.name == name))


def _from_input_to_convolution(model: "ModelProto") -> "Iterator[NodeProto]":
    """The nodes from the image to the first convolution; none if there is more than its normalization."""
    nodes, name = [], INPUT_NAME
    while True:
        users = [node for node in model.graph.node if name in node.input and node.op_type != "Shape"]
        if len(users) != 1 or users[0].op_type not in (*_NORMALIZATION_OPS, "Transpose", "Conv"):
            return
        nodes.append(users[0])
        if users[0].op_type == "Conv":
            break
        name = users[0].output[0]
    if [node.op_type for node in nodes].count("Transpose") == 1:
        yield from nodes


def _shift_bias(model: "ModelProto", conv: "NodeProto", shift: float) -> None:
    """Add to the bias of a convolution what a constant, added to its input, adds to its output."""
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    added = numpy_helper.to_array(tensors[conv.input[1]]).sum((1, 2, 3)) * shift
    old = numpy_helper.to_array(tensors[conv.input[2]]) if len(conv.input) > 2 else 0.0
    bias = numpy_helper.from_array(np.asarray(old + added, np.float32), f"{conv.name}.shifted_bias")
    model.graph.initializer.append(bias)
    inputs = [*conv.input[:2], bias.name]
    del conv.input[:]
    conv.input.extend(inputs)
