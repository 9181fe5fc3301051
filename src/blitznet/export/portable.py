"""Rewrite an ONNX graph so that more runtimes read it, and none warns about it; the function stays the same.

`tidy` applies to every file. `make_static` fixes the batch and replaces everything that only computes shapes by
constants: OpenCV, TVM and converters to TFLite read such files only.
"""

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from blitznet.runtime.engine import INPUT_NAME

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

    Constant = NDArray[np.generic]

_MAX_FOLDED = 4096
"""numbers of a constant that is computed here, at most; shapes have few, and kernels stay as they are"""
_NOT_FOLDED = {"QuantizeLinear", "DequantizeLinear"}
"""operators on constants that stay: they keep kernels small"""


def tidy(model: "ModelProto") -> None:
    """Remove what engines warn about or refuse: unused constants, repeated operator sets, zero points of another shape.

    Args:
        model: The graph; it is changed.
    """
    model.producer_version = version("blitznet")
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    del model.opset_import[:]
    for domain, number in opsets.items():
        model.opset_import.add(domain=domain, version=number)
    _match_zero_points(model)
    remove_unused_constants(model)


def remove_unused_constants(model: "ModelProto") -> None:
    """Remove initializers that no node reads, in place."""
    used = {name for node in model.graph.node for name in _names_read(node)}
    used |= {output.name for output in model.graph.output}
    used_tensors = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(used_tensors)


def make_static(model: "ModelProto", batch: int = 1) -> None:
    """Fix the batch and fold shape computations, in place.

    Args:
        model: The graph of a network, with or without post-processing.
        batch: Images of a batch.
    """
    import onnx

    for value in (*model.graph.input, *model.graph.output):
        for size in value.type.tensor_type.shape.dim[:1]:
            size.dim_value = batch
    del model.graph.value_info[:]
    while True:
        shapes = _static_shapes(onnx.shape_inference.infer_shapes(model, data_prop=True))
        if not _fold(model, shapes):
            break
    for node in model.graph.node:
        if node.op_type == "TopK":  # sorted or not, the network sorts again; some runtimes only know sorted ones
            _set_int(node, "sorted", 1)
    _split_unsqueezes(model)
    remove_unused_constants(model)
    inferred = onnx.shape_inference.infer_shapes(model)
    del model.graph.value_info[:]
    model.graph.value_info.extend(inferred.graph.value_info)
    for own, value in zip(model.graph.output, inferred.graph.output, strict=True):
        own.CopyFrom(value)


def make_float_input(model: "ModelProto") -> None:
    """Let a graph read float32 pixels from 0 to 255 instead of uint8 ones, in place; some runtimes have no uint8."""
    from onnx import TensorProto, helper

    graph = model.graph
    graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    readers = [node for node in graph.node if INPUT_NAME in node.input]
    if all(node.op_type == "Cast" and _int(node, "to") == TensorProto.FLOAT for node in readers):
        renamed = {node.output[0]: INPUT_NAME for node in readers}
        for node in readers:
            graph.node.remove(node)
        for node in graph.node:
            node.input[:] = [renamed.get(name, name) for name in node.input]
        return
    pixels = f"{INPUT_NAME}.uint8"
    for node in readers:
        node.input[:] = [pixels if name == INPUT_NAME else name for name in node.input]
    graph.node.insert(0, helper.make_node("Cast", [INPUT_NAME], [pixels], to=TensorProto.UINT8))


def _names_read(node: "NodeProto") -> Iterator[str]:
    """Names of the tensors that a node reads, also in its subgraphs."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _names_read(inner)
            yield from (output.name for output in graph.output)


def _match_zero_points(model: "ModelProto") -> None:
    """Give each zero point the shape of its scale, as ONNX requires; the quantizer writes () beside (1,)."""
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or len(node.input) < 3:
            continue
        scale, zero_point = tensors.get(node.input[1]), tensors.get(node.input[2])
        if scale is None or zero_point is None or list(scale.dims) == list(zero_point.dims):
            continue
        name = f"{node.input[2]}.of.{node.input[1]}"
        if name not in tensors:
            values = np.broadcast_to(numpy_helper.to_array(zero_point), tuple(scale.dims))
            tensors[name] = numpy_helper.from_array(values.copy(), name)
            model.graph.initializer.append(tensors[name])
        node.input[2] = name


def _static_shapes(model: "ModelProto") -> dict[str, tuple[int, ...]]:
    """The shapes of all tensors whose sizes are known."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        shape = _static_shape(value)
        if shape is not None:
            shapes[value.name] = shape
    return shapes


def _static_shape(value: "ValueInfoProto") -> tuple[int, ...] | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape") or not all(size.HasField("dim_value") for size in kind.shape.dim):
        return None
    return tuple(size.dim_value for size in kind.shape.dim)


def _fold(model: "ModelProto", shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Replace nodes with a constant value by initializers; return whether there were any."""
    from onnx import numpy_helper

    graph = model.graph
    opset = next(item.version for item in model.opset_import if item.domain == "")
    constants = {tensor.name: tensor for tensor in graph.initializer}
    remaining: list[NodeProto] = []
    for node in graph.node:
        values = _values(node, constants, shapes, opset)
        if values is None:
            remaining.append(node)
            continue
        for name, value in zip(node.output, values, strict=True):
            constants[name] = numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
            graph.initializer.append(constants[name])
    folded = len(remaining) < len(graph.node)
    if folded:
        nodes = [_copy(node) for node in remaining]
        del graph.node[:]
        graph.node.extend(nodes)
    return folded


def _copy(node: "NodeProto") -> "NodeProto":
    copy = type(node)()
    copy.CopyFrom(node)
    return copy


def _values(
    node: "NodeProto", constants: "Mapping[str, TensorProto]", shapes: Mapping[str, tuple[int, ...]], opset: int
) -> "list[Constant] | None":
    """The outputs of a node that do not depend on the pixels; None for any other."""
    from onnx import numpy_helper

    if node.op_type == "Constant":
        return _run_node(node, {}, opset)
    if node.op_type == "Shape" and node.input[0] in shapes:
        shape = shapes[node.input[0]]
        start = _int(node, "start", 0)
        end = _int(node, "end", len(shape))
        return [np.asarray(shape[start:end], np.int64)]
    names = [name for name in node.input if name]
    is_small = all(name in constants and np.prod(constants[name].dims, initial=1) <= _MAX_FOLDED for name in names)
    if not names or not is_small or node.op_type in _NOT_FOLDED:
        return None
    inputs = {name: numpy_helper.to_array(constants[name]) for name in names}
    if node.op_type == "Cast" and any(value.dtype == np.float16 for value in inputs.values()):
        return None
    values = _run_node(node, inputs, opset)
    return values if all(value.size <= _MAX_FOLDED for value in values) else None


def _run_node(node: "NodeProto", inputs: "Mapping[str, Constant]", opset: int) -> "list[Constant]":
    """The outputs of one node by ONNX's reference implementation."""
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in inputs.items()
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in node.output]
    graph = helper.make_graph([node], "node", values, outputs)
    session = ReferenceEvaluator(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]))
    return [np.asarray(value) for value in session.run(None, dict(inputs))]


def _split_unsqueezes(model: "ModelProto") -> None:
    """Replace an Unsqueeze of several axes by one for each, which older runtimes require."""
    from onnx import helper, numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        axes = constants.get(node.input[1]) if node.op_type == "Unsqueeze" else None
        numbers = [] if axes is None else sorted(numpy_helper.to_array(axes).reshape(-1).tolist())
        if len(numbers) < 2 or numbers[0] < 0:
            nodes.append(_copy(node))
            continue
        source = node.input[0]
        for position, axis in enumerate(numbers):
            name = f"{node.output[0]}.axis{axis}"
            output = node.output[0] if position == len(numbers) - 1 else name
            model.graph.initializer.append(numpy_helper.from_array(np.array([axis], np.int64), f"{name}.index"))
            nodes.append(helper.make_node("Unsqueeze", [source, f"{name}.index"], [output], name=name))
            source = output
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _int(node: "NodeProto", name: str, default: int = 0) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), default)


def _set_int(node: "NodeProto", name: str, value: int) -> None:
    from onnx import helper

    for attribute in [attribute for attribute in node.attribute if attribute.name == name]:
        node.attribute.remove(attribute)
    node.attribute.append(helper.make_attribute(name, value))
