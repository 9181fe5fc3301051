"""A graph as one file for OpenVINO: its two files and the contract in a zip."""

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from zipfile import ZipFile

from blitznet.core.files import atomic_write
from blitznet.core.spec import Spec
from blitznet.runtime.openvino_engine import GRAPH, SPEC, WEIGHTS, import_openvino, shared_core

if TYPE_CHECKING:
    from onnx import ModelProto


def write_openvino(model: "ModelProto", spec: Spec, path: Path) -> None:
    """Write an ONNX graph of ours as OpenVINO reads it; kernels stored in float16 or int8 stay so.

    Not compressed, so that reading is copying. Raises MissingExtra without openvino, UsageError if the file
    cannot be written.
    """
    openvino = import_openvino()
    with TemporaryDirectory() as folder:
        graph = Path(folder, GRAPH)
        # Read and written as it is: the converter would fold batch norms and Casts into kernels, twice as large then.
        openvino.serialize(shared_core().read_model(model.SerializeToString(), b""), graph, Path(folder, WEIGHTS))
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
