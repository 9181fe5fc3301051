"""A network as one ONNX file that carries its contract."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from blitznet.core.errors import MissingExtra
from blitznet.core.files import write_whole
from blitznet.core.spec import Spec
from blitznet.nets.deploy import Deployed, answers
from blitznet.runtime.onnx import INPUT, KEY

if TYPE_CHECKING:
    from onnx import ModelProto

_WORTH_HALVING = 256
"""numbers; a smaller tensor saves nothing beside its Cast"""
_LARGEST_HALF = 65504
OPSET = 18
"""the first with all we need; onnxruntime reads it since 1.14"""


def export_onnx(net: nn.Module, spec: Spec, path: Path) -> None:
    """Write the network behind its normalisation: images (B, h, w, 3) uint8 RGB in, its tasks' raw answers out.

    B is free, (h, w) is the contract's size. Names: `images`; `offsets`, `logits`, `class_map`. One file,
    there whole or not at all. The network is left in evaluation mode, on the CPU.
    Raises MissingExtra without onnx, UsageError if the file cannot be written.
    """
    model = _traced(net, spec)
    _halve_kernels(model)
    _describe(model, spec)
    _check(model)
    write_whole(path, model.SerializeToString())


def _traced(net: nn.Module, spec: Spec) -> "ModelProto":
    try:
        from onnxscript import optimizer
    except ImportError as error:
        raise MissingExtra("export to ONNX", "train") from error
    images = torch.zeros((2, *spec.size, 3), dtype=torch.uint8)  # 2: a batch of 1 would be taken for a constant
    with _quiet():
        program = torch.onnx.export(
            Deployed(net, spec).cpu().eval(),
            (images,),
            input_names=[INPUT],
            output_names=list(answers(spec)),
            opset_version=OPSET,
            dynamic_shapes=({0: torch.export.Dim("B")},),
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


def _check(model: "ModelProto") -> None:
    import onnx

    onnx.checker.check_model(model)


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


def _describe(model: "ModelProto", spec: Spec) -> None:
    """The contract for us, and what a stranger wants to read about the file."""
    model.producer_name = "blitznet"
    model.doc_string = f"{spec.name}: object boxes and a class for every pixel; images (B, h, w, 3) uint8 RGB"
    notes = {
        KEY: spec.to_json(),
        "name": spec.name,
        "names": ", ".join(spec.classes),
        "licence": spec.licence,
        "provenance": spec.provenance,
    }
    for key, value in notes.items():
        model.metadata_props.add(key=key, value=value)
    for node in model.graph.node:  # where in our sources each node comes from: nobody's business, and half the graph
        del node.metadata_props[:]
        node.doc_string = ""


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
