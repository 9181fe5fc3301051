"""A network as one ONNX file that carries its contract."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

import torch
from torch import nn

from blitznet.core.errors import MissingExtra, ModelError
from blitznet.core.spec import Spec
from blitznet.nets.deploy import Deployed, answers
from blitznet.runtime.onnx import INPUT, KEY

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
"""the first with all we need; onnxruntime reads it since 1.14"""


def export_onnx(net: nn.Module, spec: Spec, path: Path) -> None:
    """Write the network behind its normalisation: images (B, h, w, 3) uint8 RGB in, its tasks' raw answers out.

    B is free, (h, w) is the contract's size. Names: `images`; `offsets`, `logits`, `class_map`. One file,
    there whole or not at all. The network is left in evaluation mode, on the CPU.
    Raises MissingExtra without onnx, ModelError if the file cannot be written.
    """
    model = _traced(net, spec)
    _describe(model, spec)
    _write(model, path)


def _traced(net: nn.Module, spec: Spec) -> "ModelProto":
    try:
        import onnxscript  # noqa: F401 - torch's exporter needs it, and onnx with it
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
        )
    assert program is not None, "the exporter gives a program unless it writes the file itself"
    model: ModelProto = program.model_proto
    return model


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


def _write(model: "ModelProto", path: Path) -> None:
    import onnx

    onnx.checker.check_model(model)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            written = Path(file.name)
            try:
                file.write(model.SerializeToString())
                file.close()
                written.chmod(0o644)
                written.replace(path)
            finally:
                written.unlink(missing_ok=True)
    except OSError as error:
        raise ModelError(f"{path}: cannot be written ({error.strerror})") from error


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
