"""A graph as one file for OpenVINO: a zip of its two files and the spec."""

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from zipfile import ZipFile

from blitznet.core.errors import UsageError
from blitznet.core.files import atomic_write
from blitznet.core.spec import Spec
from blitznet.runtime.openvino_engine import GRAPH, SPEC, WEIGHTS, import_openvino, shared_core

if TYPE_CHECKING:
    from onnx import ModelProto


def write_openvino(model: "ModelProto", spec: Spec, path: Path) -> None:
    """Write an ONNX graph in OpenVINO's format. Kernels stored in float16 or int8 stay so.

    The zip is not compressed, so reading it is copying.

    Args:
        model: The graph.
        spec: Its spec.
        path: The file, `.openvino`.

    Raises:
        MissingExtra: openvino is not installed.
        UsageError: The file cannot be written.
    """
    openvino = import_openvino()
    with TemporaryDirectory() as folder:
        graph = Path(folder, GRAPH)
        # Not through the converter: it folds batch norms and Casts into the kernels, which doubles their size.
        network = shared_core().read_model(model.SerializeToString(), b"")
        try:
            openvino.serialize(network, graph, Path(folder, WEIGHTS))
        except RuntimeError as error:
            raise UsageError(
                f"{path}: OpenVINO cannot write its temporary files into {folder}; free space there, or set TMPDIR"
            ) from error
        parts = {
            SPEC: spec.to_json().encode(),
            GRAPH: graph.read_bytes(),
            WEIGHTS: Path(folder, WEIGHTS).read_bytes(),
        }
    content = BytesIO()
    with ZipFile(content, "w") as file:
        for name, part in parts.items():
            file.writestr(name, part)
    atomic_write(path, content.getvalue())
