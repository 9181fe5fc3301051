"""A network in 8 bits: one QDQ file that onnxruntime and OpenVINO both run fast, and right on any processor.

Activations are unsigned with one scale each, kernels signed with one for each channel: signed activations are
slower than float32 on x86. Where the network meets pixels, and in what it answers, it stays in float.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blitznet.core.arrays import RGBArray, require_shape
from blitznet.core.errors import UsageError
from blitznet.core.spec import Spec
from blitznet.export.activations import Moments, Seen, observe, second_moments
from blitznet.export.folding import folded
from blitznet.export.kernels import Kernel, correct_biases, kernels, set_kernels
from blitznet.export.onnx import write_onnx
from blitznet.export.weight_rounding import compensated
from blitznet.runtime.engine import INPUT_NAME

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

OPERATIONS = ("Conv", "Add", "Concat", "Resize", "Clip", "Relu", "MaxPool", "AveragePool")
"""what is computed in 8 bits; all else is float, between its neighbours' 8 bits"""
MOMENTS = 100
"""images at most that 1x1 kernels are rounded for; each shows hundreds of places"""


@dataclass(frozen=True, slots=True)
class InFloat:
    """What of a graph stays in float."""

    nodes: frozenset[str]
    """names of nodes that are computed so"""
    answers: frozenset[str]
    """names of convolutions in 8 bits whose answers are not rounded to 8 bits"""


def quantize_onnx(source: Path, target: Path, images: Sequence[RGBArray], spec: Spec) -> None:
    """Write the float32 network of `source`, as it is without post-processing, in 8 bits as `target`.

    images: (h, w, 3) uint8 RGB of the contract's size, images such as it will see, 100 to 300 of them; what goes on
    inside the network while it looks at them gives the scales. The same images give the same file.
    Raises UsageError where there is no image or the file cannot be written.
    """
    if not images:
        raise UsageError(f"{target}: expected images to calibrate on, 100 or more, got none")
    for image in images:
        require_shape(image, (*spec.size, 3), name="image to calibrate on")
    model = folded(source)
    spared = in_float(model)
    seen = observe(model, _tensors(model, spared.nodes), images)
    found = _compensated(model, kernels(model, spared.nodes), images)
    correct_biases(model, found, {name: one.means for name, one in seen.items()})
    set_kernels(model, found)
    write_onnx(_quantized(model, spared, found, seen), replace(spec, precision="int8"), target)


def in_float(model: "ModelProto") -> InFloat:
    """What is best left in float: where pixels come in, and where answers go out.

    That is all up to the first convolution, with a depthwise one right behind it, and all after the last
    convolutions. 8 bits lose most there, and float costs little. The last convolutions themselves are in 8 bits;
    where they are 1x1 their answers are not rounded again, which OpenVINO has for nothing (onnxruntime computes
    them in float then, which for larger kernels would take too long).
    """
    made_by = {name: node for node in model.graph.node for name in node.output}
    used_by: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            used_by.setdefault(name, []).append(node)

    def after(node: "NodeProto") -> "list[NodeProto]":
        # a image's shape goes wherever something is resized or reshaped, which says nothing of its pixels
        return [user for name in node.output for user in used_by.get(name, ()) if node.op_type != "Shape"]

    def before(node: "NodeProto") -> "list[NodeProto]":
        return [made_by[name] for name in node.input if name in made_by]

    dims = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}  # (O, I, kh, kw)
    first = _until_convolution(used_by[INPUT_NAME], after)
    second = _until_convolution([node for one in first if one.op_type == "Conv" for node in after(one)], after)
    depthwise = [node for node in second if node.op_type == "Conv" and dims[node.input[1]][1] == 1]
    last = _until_convolution([made_by[output.name] for output in model.graph.output], before)
    after_them = [node for node in last if node.op_type != "Conv"]
    pointwise = [node for node in last if node.op_type == "Conv" and dims[node.input[1]][2:] == (1, 1)]
    return InFloat(
        nodes=frozenset(node.name for node in (*first, *depthwise, *after_them)),
        answers=frozenset(node.name for node in pointwise),
    )


def _until_convolution(
    start: "Iterable[NodeProto]", neighbours: "Callable[[NodeProto], list[NodeProto]]"
) -> "list[NodeProto]":
    """These nodes and all that are reached from them, no further than the first convolution on each way."""
    reached: dict[str, NodeProto] = {}
    open_ = list(start)
    while open_:
        node = open_.pop()
        if node.name not in reached and node.op_type != "Conv":
            open_ += neighbours(node)
        reached[node.name] = node
    return list(reached.values())


def _tensors(model: "ModelProto", spared: AbstractSet[str]) -> list[str]:
    """Names of the maps (1, D, h, w) that go into and come out of the operations in 8 bits."""
    from onnx import TensorProto

    types = {one.name: one.type.tensor_type for one in (*model.graph.value_info, *model.graph.output)}
    maps = {name for name, kind in types.items() if kind.elem_type == TensorProto.FLOAT and len(kind.shape.dim) == 4}
    maps -= {tensor.name for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in OPERATIONS and node.name not in spared]
    return sorted({name for node in nodes for name in (*node.input, *node.output)} & maps)


def _compensated(model: "ModelProto", found: Sequence[Kernel], images: Sequence[RGBArray]) -> list[Kernel]:
    """The kernels, the 1x1 ones rounded so that on these images their answers change least."""
    inputs = {node.name: node.input[0] for node in model.graph.node}
    matrices = [(kernel.name, inputs[kernel.node]) for kernel in found if kernel.pointwise]
    moments = second_moments(model, [tensor for _, tensor in matrices], images[:: -(-len(images) // MOMENTS)])
    total: dict[str, Moments] = {}
    for name, tensor in matrices:  # a kernel may be used in several places
        total[name] = total.get(name, np.zeros(())) + moments[tensor]
    return compensated(found, total)


def _quantized(model: "ModelProto", spared: InFloat, found: Sequence[Kernel], seen: Mapping[str, Seen]) -> "ModelProto":
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
    from onnxruntime.quantization.calibrate import TensorsData

    ranges = {name: (np.float32(one.low), np.float32(one.high)) for name, one in seen.items()}
    scales = {
        kernel.name: [
            {"axis": 0, "quant_type": QuantType.QInt8, "scale": scale, "zero_point": 0} for scale in kernel.scales
        ]
        for kernel in found
    }
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,  # the kernels' scales see to it
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
        nodes_to_quantize=[],
        nodes_to_exclude=sorted(spared.nodes),
        op_types_to_quantize=list(OPERATIONS),
        extra_options={"TensorQuantOverrides": scales},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantized: ModelProto = quantizer.model.model
    _leave_unrounded(quantized, spared.answers)
    return quantized


def _leave_unrounded(model: "ModelProto", convolutions: AbstractSet[str]) -> None:
    """Take out what rounds these convolutions' answers to 8 bits and back: their users are given them as they are."""
    graph, outputs = model.graph, {output.name for output in model.graph.output}
    answering = {node.output[0]: node for node in graph.node if node.name in convolutions}
    rounding = [node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] in answering]
    rounded = {node.output[0]: node.input[0] for node in rounding}
    back = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in rounded]
    given = {node.output[0]: rounded[node.input[0]] for node in back}
    for node in (*rounding, *back):
        graph.node.remove(node)
    called = {given[name]: name for name in given if name in outputs}  # an answer of the file keeps its name
    for name, node in answering.items():
        node.output[0] = called.get(name, name)
    for node in graph.node:
        for place, name in enumerate(node.input):
            source = given.get(name, name)
            node.input[place] = called.get(source, source)
