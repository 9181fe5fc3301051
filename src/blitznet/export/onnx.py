"""A network as one ONNX file that carries its contract."""

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
from blitznet.export.program import example
from blitznet.nets.deploy import Deployed, output_names
from blitznet.nets.postprocess import PostprocessModule, nms_output_names
from blitznet.runtime.engine import INPUT_NAME

if TYPE_CHECKING:
    from onnx import ModelProto

_WORTH_HALVING = 256
"""numbers; a smaller tensor saves nothing beside its Cast"""
_LARGEST_HALF = 65504
_NETWORK = "network."
"""what names of the network's part begin with in a graph with the post-processing"""
OPSET = 18
"""the first with all we need; onnxruntime reads it since 1.14"""


def export_onnx(net: nn.Module, spec: Spec, path: Path, *, nms: bool = False) -> None:
    """Write the network behind its normalisation: images (B, h, w, 3) uint8 RGB in, its tasks' raw answers out.

    B is free, (h, w) is the contract's size. Names: `images`; `offsets`, `logits`, `class_map`, or with `nms`, which
    puts the post-processing inside, `boxes`, `scores`, `labels`, `count`, `class_map`. One file, there whole or not
    at all. The network is left in evaluation mode, on the CPU.
    Raises MissingExtra without onnx, UsageError if the file cannot be written or there are no boxes to finish.
    """
    model = raw_model(net, spec)
    write_onnx(with_finishing(model, net, spec) if nms else model, spec, path)


def raw_model(net: nn.Module, spec: Spec) -> "ModelProto":
    """The network and its normalisation as a graph that gives raw answers."""
    model = _traced(Deployed(net, spec), (example(spec),), [INPUT_NAME], output_names(spec))
    _halve_kernels(model)
    return model


def with_finishing(model: "ModelProto", net: nn.Module, spec: Spec) -> "ModelProto":
    """The graph that gives raw answers, and after it the post-processing, in whatever precision the first part is."""
    from onnx import compose

    names = output_names(spec)
    with torch.inference_mode():
        given = Deployed(net, spec).cpu().eval()(example(spec))
    inputs = [f"{_NETWORK}{name}" for name in names]
    after = _traced(PostprocessModule(spec), tuple(answer.clone() for answer in given), inputs, nms_output_names(spec))
    after.ir_version = model.ir_version
    del after.opset_import[:]  # those of the network's graph hold, where quantising has raised one
    after.opset_import.extend(model.opset_import)
    before = compose.add_prefix(model, _NETWORK, rename_inputs=False)  # both name things as they like
    compose.add_prefix(after, "finish.", rename_inputs=False, rename_outputs=False, inplace=True)
    return compose.merge_models(before, after, io_map=[(name, name) for name in inputs])


def write_onnx(model: "ModelProto", spec: Spec, path: Path) -> None:
    """Write a graph of ours with its contract; the file is there whole or not at all."""
    import onnx

    describe(model, spec)
    onnx.checker.check_model(model)
    atomic_write(path, model.SerializeToString())


def describe(model: "ModelProto", spec: Spec) -> None:
    """Set the metadata: the spec, and its main fields as plain text for other tools."""
    model.producer_name = "blitznet"
    model.doc_string = f"{spec.name}: detection and semantic segmentation; images (B, h, w, 3) uint8 RGB"
    notes = {
        METADATA_KEY: spec.to_json(),
        "name": spec.name,
        "class_names": ", ".join(spec.classes),
        "precision": spec.precision,
        "license": spec.license,
        "provenance": spec.provenance,
    }
    del model.metadata_props[:]
    for key, value in notes.items():
        model.metadata_props.add(key=key, value=value)
    for node in model.graph.node:  # source locations, which are half of the graph's size
        del node.metadata_props[:]
        node.doc_string = ""


def _traced(
    module: nn.Module, given: tuple[Tensor, ...], inputs: Sequence[str], outputs: Sequence[str]
) -> "ModelProto":
    """A module as a graph; the first axis of whatever goes in is free."""
    try:
        from onnxscript import optimizer
    except ImportError as error:
        raise MissingExtra("export to ONNX", "train") from error
    batch = torch.export.Dim("B")
    with _quiet():
        program = torch.onnx.export(
            module.cpu().eval(),
            given,
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamic_shapes=tuple({0: batch} for _ in given),
            custom_translation_table={torch.ops.aten.sort.stable: _stable_sort},
            dynamo=True,
            verbose=False,
            optimize=False,
        )
    assert program is not None, "the exporter gives a program unless it writes the file itself"
    # All of its clean-up but one: batch norms folded into the kernels here would cost the kernels' float16 form.
    # Engines fold them when they load the file.
    optimizer.inline(program.model)
    optimizer.fold_constants(program.model)
    optimizer.remove_unused_nodes(program.model)
    model: ModelProto = program.model_proto
    return model


def _stable_sort(x: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:  # noqa: ARG001 - torch's
    """The last axis sorted: ONNX's TopK keeps equal values in their order, which the exporter does not know."""
    from onnxscript import opset18 as op

    assert dim == -1
    return op.TopK(x, op.Shape(x, start=-1), axis=-1, largest=int(descending), sorted=1)


def _halve_kernels(model: "ModelProto") -> None:
    """Store kernels that float16 holds exactly as float16, behind a Cast: half the file, the same function.

    Shipped weights are rounded to float16 once, so theirs are; engines do the Cast when they load the file.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _WORTH_HALVING or np.abs(values).max() > _LARGEST_HALF:
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
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks, which are about its own insides."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
