"""Replace the spec in a model file; the weights stay the same bit for bit. Files of version 1 become version 2."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZipFile

from blitznet.core.errors import UsageError
from blitznet.core.files import atomic_write
from blitznet.core.outputs import NMS_OUTPUT_NAMES
from blitznet.core.spec import METADATA_KEY, Spec
from blitznet.runtime.openvino_engine import SUFFIX as OPENVINO
from blitznet.runtime.openvino_engine import is_spec

if TYPE_CHECKING:
    from onnx import ModelProto


def rewrite(path: Path, spec: Spec, out: Path) -> None:
    """Copy a model file with another spec.

    Args:
        path: The file, one of WRITERS.
        spec: The new spec.
        out: The copy, which may be `path`.

    Raises:
        UsageError: The spec of such a file cannot be replaced, or the copy cannot be written.
    """
    if path.suffix not in WRITERS:
        raise UsageError(f"{path}: expected a {', '.join(WRITERS)} file, got '{path.suffix or path.name}'")
    WRITERS[path.suffix](path, spec, out)


def _safetensors(path: Path, spec: Spec, out: Path) -> None:
    from safetensors.torch import load, save

    from blitznet.nets.model_files import upgrade_v1_weights

    weights = upgrade_v1_weights(load(path.read_bytes()))
    atomic_write(out, save(weights, metadata={METADATA_KEY: spec.to_json()}))


def _onnx(path: Path, spec: Spec, out: Path) -> None:
    import onnx

    from blitznet.export.onnx import set_metadata

    model = onnx.load(path)
    _upgrade_v1_output(model)
    set_metadata(model, spec)
    atomic_write(out, model.SerializeToString())


def _upgrade_v1_output(model: "ModelProto") -> None:
    """Rename the segmentation logits, which version 1 calls `class_map`; a file with NMS inside stays as it is."""
    outputs = {output.name for output in model.graph.output}
    if "class_map" not in outputs or set(NMS_OUTPUT_NAMES) <= outputs:
        return
    for value in (*model.graph.output, *model.graph.value_info):
        value.name = "segmentation_logits" if value.name == "class_map" else value.name
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["segmentation_logits" if name == "class_map" else name for name in names]


def _openvino(path: Path, spec: Spec, out: Path) -> None:
    content = BytesIO()
    with ZipFile(path) as old, ZipFile(content, "w") as new:
        for part in old.infolist():
            new.writestr(part, spec.to_json() if is_spec(part.filename) else old.read(part))
    atomic_write(out, content.getvalue())


WRITERS: dict[str, Callable[[Path, Spec, Path], None]] = {
    ".safetensors": _safetensors,
    ".onnx": _onnx,
    OPENVINO: _openvino,
}
"""suffix -> writer; a .pt2 program is missing because its graph contains the temperatures"""
