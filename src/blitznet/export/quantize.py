"""Static int8 quantization: one QDQ file that is fast on onnxruntime and OpenVINO, and correct on any processor.

Activations are unsigned with one scale each, kernels signed with one scale per channel: signed activations are slower
than float32 on x86. `float_parts.py` chooses what stays in float.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blitznet.core.arrays import RGBArray, require_shape
from blitznet.core.errors import UsageError
from blitznet.core.spec import Spec
from blitznet.export.activations import Moments, TensorStats, collect_stats, second_moments
from blitznet.export.float_parts import FloatParts, clip_logits, select_float_parts
from blitznet.export.folding import fold_constants
from blitznet.export.kernels import Kernel, correct_biases, find_kernels, set_kernels
from blitznet.export.onnx import write_onnx
from blitznet.export.pixel_input import normalize_in_kernel, read_pixels
from blitznet.export.weight_rounding import round_with_compensation

if TYPE_CHECKING:
    from onnx import ModelProto

QUANTIZED_OPS = ("Conv", "Add", "Concat", "Resize", "Clip", "Relu", "MaxPool", "AveragePool")
"""operators in 8 bits; all others stay in float"""
MAX_MOMENT_IMAGES = 100
"""images, at most, for the second moments of 1x1 kernels; each contributes hundreds of pixels"""


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
    pixels = normalize_in_kernel(model, spec)
    floats = select_float_parts(model, pixels=pixels is not None)
    stats = collect_stats(model, _quantized_tensors(model, floats.nodes), images)
    if pixels is not None:
        stats[pixels.tensor] = replace(stats[pixels.tensor], low=pixels.low, high=pixels.high)
    kernels = _round_kernels(model, find_kernels(model, floats.nodes), images)
    correct_biases(model, kernels, {name: tensor.means for name, tensor in stats.items()})
    set_kernels(model, kernels)
    quantized = _insert_qdq(model, floats, kernels, clip_logits(model, stats, spec, images))
    if pixels is not None:
        read_pixels(quantized, pixels)
    write_onnx(quantized, replace(spec, precision="int8"), target)


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
