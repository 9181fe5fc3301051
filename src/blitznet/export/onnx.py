"""A network as an ONNX graph, and its file with the spec in its metadata."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from blitznet.core.errors import MissingExtra
from blitznet.core.files import atomic_write
from blitznet.core.spec import METADATA_KEY, Spec
from blitznet.export.portable import tidy
from blitznet.export.program import example_images
from blitznet.nets.deploy import Deployed, output_names
from blitznet.nets.postprocess import PostprocessModule, nms_output_names
from blitznet.runtime.engine import INPUT_NAME

if TYPE_CHECKING:
    from onnx import ModelProto

_MIN_HALF_SIZE = 256
"""numbers; below it float16 saves no more than its Cast costs"""
_MAX_HALF = 65504
_NETWORK_PREFIX, _POSTPROCESS_PREFIX = "network.", "postprocess."
"""prefixes of names in a graph with post-processing inside"""
OPSET = 18
"""the first with all operators that are needed; onnxruntime reads it since 1.14"""


def to_onnx(net: nn.Module, spec: Spec) -> "ModelProto":
    """Trace a network with its normalization.

    Args:
        net: The network. It is left in evaluation mode, on the CPU.
        spec: Its spec.

    Returns:
        A graph from `images` (B, h, w, 3) uint8 RGB to the raw outputs of its tasks; B is dynamic, (h, w) the spec's
        size.

    Raises:
        MissingExtra: onnx or onnxscript is not installed.
    """
    model = _trace(Deployed(net, spec), (example_images(spec),), [INPUT_NAME], output_names(spec))
    _store_kernels_as_half(model)
    return model


def append_postprocess(model: "ModelProto", net: nn.Module, spec: Spec) -> "ModelProto":
    """Append post-processing to a graph of raw outputs.

    Args:
        model: The graph, of any precision.
        net: Its network, run once for the shapes of the outputs.
        spec: Its spec.

    Returns:
        A graph with the outputs boxes, scores, labels, count and, with that task, class_map.

    Raises:
        UsageError: The spec has no detection task.
    """
    from onnx import compose

    names = output_names(spec)
    with torch.inference_mode():
        outputs = Deployed(net, spec).cpu().eval()(example_images(spec))
    inputs = [f"{_NETWORK_PREFIX}{name}" for name in names]
    example = tuple(output.clone() for output in outputs)
    tail = _trace(PostprocessModule(spec), example, inputs, nms_output_names(spec))
    tail.ir_version = model.ir_version
    del tail.opset_import[:]  # those of the network apply: quantization may have raised one
    tail.opset_import.extend(model.opset_import)
    head = compose.add_prefix(model, _NETWORK_PREFIX, rename_inputs=False)  # both graphs use the same names inside
    compose.add_prefix(tail, _POSTPROCESS_PREFIX, rename_inputs=False, rename_outputs=False, inplace=True)
    return compose.merge_models(head, tail, io_map=[(name, name) for name in inputs])


def write_onnx(model: "ModelProto", spec: Spec, path: Path) -> None:
    """Write a graph with its spec, atomically.

    Args:
        model: The graph; its metadata is set.
        spec: The spec.
        path: The file.

    Raises:
        UsageError: The file cannot be written.
    """
    import onnx

    set_metadata(model, spec)
    tidy(model)
    onnx.checker.check_model(model)
    atomic_write(path, model.SerializeToString())


def set_metadata(model: "ModelProto", spec: Spec) -> None:
    """Set the metadata: the spec, and its main fields as plain text for other tools."""
    model.producer_name = "blitznet"
    model.doc_string = f"{spec.name}: detection and semantic segmentation; images (B, h, w, 3) uint8 RGB"
    metadata = {
        METADATA_KEY: spec.to_json(),
        "name": spec.name,
        "class_names": ", ".join(spec.classes),
        "precision": spec.precision,
        "license": spec.license,
        "provenance": spec.provenance,
    }
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    for node in model.graph.node:  # source locations, which are half of the graph's size
        del node.metadata_props[:]
        node.doc_string = ""


def _trace(
    module: nn.Module, example: tuple[Tensor, ...], inputs: Sequence[str], outputs: Sequence[str]
) -> "ModelProto":
    """A module as a graph; the first axis of each input is dynamic."""
    try:
        from onnxscript import optimizer
    except ImportError as error:
        raise MissingExtra("export to ONNX", "train") from error
    batch = torch.export.Dim("B")
    with _suppress_messages():
        program = torch.onnx.export(
            module.cpu().eval(),
            example,
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamic_shapes=tuple({0: batch} for _ in example),
            custom_translation_table={torch.ops.aten.sort.stable: _stable_sort},
            dynamo=True,
            verbose=False,
            optimize=False,
        )
    assert program is not None, "the exporter returns a program unless it writes the file itself"
    # All passes of `optimize` but one: folding batch norms into the kernels would make them inexact in float16.
    # Engines fold them when they load the file.
    optimizer.inline(program.model)
    optimizer.fold_constants(program.model)
    optimizer.remove_unused_nodes(program.model)
    model: ModelProto = program.model_proto
    return model


def _stable_sort(x: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:  # noqa: ARG001 - torch's
    """The last axis sorted by ONNX's TopK, which keeps the order of equal values; the exporter has no stable sort."""
    from onnxscript import opset18 as op

    assert dim == -1
    return op.TopK(x, op.Shape(x, start=-1), axis=-1, largest=int(descending), sorted=1)


def _store_kernels_as_half(model: "ModelProto") -> None:
    """Store kernels that are exact in float16 as float16 with a Cast: half the file size, the same function.

    The weights of the package are rounded to float16. Engines fold the Cast when they load the file.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _MIN_HALF_SIZE or np.abs(values).max() > _MAX_HALF:
            continue
        half = values.astype(np.float16)
        if np.array_equal(half.astype(np.float32), values):
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])


@contextmanager
def _suppress_messages() -> Iterator[None]:
    """Suppress warnings and log messages of the exporter, which concern its own implementation."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
