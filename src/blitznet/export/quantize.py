"""Static int8 quantization: one QDQ file that is fast on onnxruntime and OpenVINO, and correct on any processor.

Activations are unsigned with one scale each, kernels signed with one scale per channel: signed activations are slower
than float32 on x86. The first and last operations of the network stay in float.
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
from blitznet.export.activations import Moments, TensorStats, collect_stats, second_moments
from blitznet.export.folding import fold_constants
from blitznet.export.kernels import Kernel, correct_biases, find_kernels, set_kernels
from blitznet.export.onnx import write_onnx
from blitznet.export.weight_rounding import round_with_compensation
from blitznet.runtime.engine import INPUT_NAME

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

QUANTIZED_OPS = ("Conv", "Add", "Concat", "Resize", "Clip", "Relu", "MaxPool", "AveragePool")
"""operators in 8 bits; all others stay in float"""
MAX_MOMENT_IMAGES = 100
"""images, at most, for the second moments of 1x1 kernels; each contributes hundreds of pixels"""


@dataclass(frozen=True, slots=True)
class FloatParts:
    """The parts of a graph that stay in float."""

    nodes: frozenset[str]
    """names of nodes that are computed in float"""
    outputs: frozenset[str]
    """names of convolutions in 8 bits whose outputs are not quantized"""


def quantize_onnx(source: Path, target: Path, images: Sequence[RGBArray], spec: Spec) -> None:
    """Quantize a float32 file to int8. The same images result in the same file.

    Args:
        source: The float32 network, without post-processing.
        target: The file to write.
        images: Calibration data, 100 to 300 images (h, w, 3) uint8 RGB of the spec's size, typical of later input.
        spec: The spec of the source.

    Raises:
        UsageError: There are no images, or the file cannot be written.
    """
    if not images:
        raise UsageError(f"{target}: expected 100 or more calibration images, got none")
    for image in images:
        require_shape(image, (*spec.size, 3), name="calibration image")
    model = fold_constants(source)
    floats = select_float_parts(model)
    stats = collect_stats(model, _quantized_tensors(model, floats.nodes), images)
    kernels = _round_kernels(model, find_kernels(model, floats.nodes), images)
    correct_biases(model, kernels, {name: tensor.means for name, tensor in stats.items()})
    set_kernels(model, kernels)
    write_onnx(_insert_qdq(model, floats, kernels, stats), replace(spec, precision="int8"), target)


def select_float_parts(model: "ModelProto") -> FloatParts:
    """Choose what stays in float: the start of the graph, and its end.

    That is everything up to the first convolution, a depthwise one directly after it, and everything after the last
    convolutions. There, 8 bits cost the most accuracy and float the least time. The last convolutions are in 8 bits.
    Where they are 1x1, their outputs are not quantized again. That is free on OpenVINO; onnxruntime then computes them
    in float, which would be slow for larger kernels.

    Args:
        model: The folded graph.

    Returns:
        Names of nodes and of unquantized outputs.
    """
    producers = {name: node for node in model.graph.node for name in node.output}
    consumers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)

    def successors(node: "NodeProto") -> "list[NodeProto]":
        # The shape of an image goes to every resize and reshape, and does not depend on its pixels.
        return [user for name in node.output for user in consumers.get(name, ()) if node.op_type != "Shape"]

    def predecessors(node: "NodeProto") -> "list[NodeProto]":
        return [producers[name] for name in node.input if name in producers]

    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}  # (O, I, kh, kw)
    first = _until_convolution(consumers[INPUT_NAME], successors)
    second = _until_convolution(
        [user for node in first if node.op_type == "Conv" for user in successors(node)], successors
    )
    depthwise = [node for node in second if node.op_type == "Conv" and shapes[node.input[1]][1] == 1]
    last = _until_convolution([producers[output.name] for output in model.graph.output], predecessors)
    after_last = [node for node in last if node.op_type != "Conv"]
    pointwise = [node for node in last if node.op_type == "Conv" and shapes[node.input[1]][2:] == (1, 1)]
    return FloatParts(
        nodes=frozenset(node.name for node in (*first, *depthwise, *after_last)),
        outputs=frozenset(node.name for node in pointwise),
    )


def _until_convolution(
    start: "Iterable[NodeProto]", neighbors: "Callable[[NodeProto], list[NodeProto]]"
) -> "list[NodeProto]":
    """All nodes that are reached from `start`, up to and including the first convolution of each path."""
    reached: dict[str, NodeProto] = {}
    stack = list(start)
    while stack:
        node = stack.pop()
        if node.name not in reached and node.op_type != "Conv":
            stack += neighbors(node)
        reached[node.name] = node
    return list(reached.values())


def _quantized_tensors(model: "ModelProto", excluded: AbstractSet[str]) -> list[str]:
    """Names of the maps (1, D, h, w) that are inputs or outputs of operations in 8 bits."""
    from onnx import TensorProto

    types = {value.name: value.type.tensor_type for value in (*model.graph.value_info, *model.graph.output)}
    maps = {name for name, kind in types.items() if kind.elem_type == TensorProto.FLOAT and len(kind.shape.dim) == 4}
    maps -= {tensor.name for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in QUANTIZED_OPS and node.name not in excluded]
    return sorted({name for node in nodes for name in (*node.input, *node.output)} & maps)


def _round_kernels(model: "ModelProto", kernels: Sequence[Kernel], images: Sequence[RGBArray]) -> list[Kernel]:
    """The kernels, with the 1x1 ones rounded so that their outputs on the images change least."""
    inputs = {node.name: node.input[0] for node in model.graph.node}
    pointwise = [(kernel.name, inputs[kernel.node]) for kernel in kernels if kernel.pointwise]
    step = -(-len(images) // MAX_MOMENT_IMAGES)
    moments = second_moments(model, [tensor for _, tensor in pointwise], images[::step])
    totals: dict[str, Moments] = {}
    for name, tensor in pointwise:  # several convolutions may share a kernel
        totals[name] = totals.get(name, np.zeros(())) + moments[tensor]
    return round_with_compensation(kernels, totals)


def _insert_qdq(
    model: "ModelProto", floats: FloatParts, kernels: Sequence[Kernel], stats: Mapping[str, TensorStats]
) -> "ModelProto":
    """The graph with QuantizeLinear and DequantizeLinear around everything that is computed in 8 bits."""
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
    from onnxruntime.quantization.calibrate import TensorsData

    ranges = {name: (np.float32(tensor.low), np.float32(tensor.high)) for name, tensor in stats.items()}
    scales = {
        kernel.name: [
            {"axis": 0, "quant_type": QuantType.QInt8, "scale": scale, "zero_point": 0} for scale in kernel.scales
        ]
        for kernel in kernels
    }
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,  # `kernel_scales` limits the range
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
        nodes_to_quantize=[],
        nodes_to_exclude=sorted(floats.nodes),
        op_types_to_quantize=list(QUANTIZED_OPS),
        extra_options={"TensorQuantOverrides": scales},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantized: ModelProto = quantizer.model.model
    _remove_output_quantization(quantized, floats.outputs)
    return quantized


def _remove_output_quantization(model: "ModelProto", convolutions: AbstractSet[str]) -> None:
    """Remove QuantizeLinear and DequantizeLinear after these convolutions."""
    graph, outputs = model.graph, {output.name for output in model.graph.output}
    producers = {node.output[0]: node for node in graph.node if node.name in convolutions}
    quantize = [node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] in producers]
    quantized = {node.output[0]: node.input[0] for node in quantize}
    dequantize = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in quantized]
    sources = {node.output[0]: quantized[node.input[0]] for node in dequantize}
    for node in (*quantize, *dequantize):
        graph.node.remove(node)
    renamed = {sources[name]: name for name in sources if name in outputs}  # outputs of the file keep their names
    for name, node in producers.items():
        node.output[0] = renamed.get(name, name)
    for node in graph.node:
        for index, name in enumerate(node.input):
            source = sources.get(name, name)
            node.input[index] = renamed.get(source, source)
