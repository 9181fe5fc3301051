"""DeepLabV3 as a segmentation teacher: the network of TensorFlow's model zoo on MobileNetV2, as an ONNX file.

Preprocessing is TensorFlow's: the longer side becomes 513 pixels, the image is padded with gray at the bottom and the
right. Logits are at stride 16, with grid points at the corners of the padded image.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import Floats
from blitznet.core.classes import VOC
from blitznet.core.errors import MissingExtra, ModelError
from blitznet.core.image import ImageSource
from blitznet.core.model_content import require_plain_onnx
from blitznet.core.sample import SoftLabels
from blitznet.runtime.onnx_session import session_options
from blitznet.runtime.openvino_engine import shared_core
from blitznet.runtime.threads import resolve_threads

if TYPE_CHECKING:
    from onnx import ModelProto

SIZE = 513
"""pixels of the network's square input"""
STRIDE = 16
"""pixels between grid points of the logits"""
_LOGITS = (len(VOC) + 1, (SIZE - 1) // STRIDE + 1, (SIZE - 1) // STRIDE + 1)
"""shape of the logits of an image"""
_MAX_REASON = 200
"""characters of an engine's own message in an error"""
_GRAY = 128
"""padding, and the pixel value that becomes 0"""

_Result = TypeVar("_Result")
_Run = Callable[[Floats], NDArray[Any]]
"""pixels (1, 3, 513, 513), -1..1 -> logits (1, 21, 33, 33)"""


class DeepLabTeacher:
    """Images -> logits of background and VOC's 20 classes."""

    class_names = VOC

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Open the file, on OpenVINO if it is installed, in the fastest precision of the processor.

        Args:
            path: The ONNX file; operations after the last convolution are cut off.
            threads: Threads to compute with. Default: one for each available processor.

        Raises:
            ModelError: The file is missing or is another network.
            MissingExtra: onnx is not installed.
        """
        self.path = path
        model = _cut_after_last_convolution(path)
        self._run = self._translate_errors(lambda: _open(model, resolve_threads(threads)))

    def __call__(self, image: ImageSource) -> SoftLabels:
        """The logits of an image."""
        height, width = image.size()
        scale = SIZE / max(height, width)
        rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
        pixels = np.full((SIZE, SIZE, 3), _GRAY, np.uint8)
        pixels[:rows, :columns] = image.resize((rows, columns), full=True)
        normalized = (pixels.astype(np.float32) - _GRAY) / _GRAY
        planes = np.ascontiguousarray(normalized.transpose(2, 0, 1)[None], np.float32)
        logits = np.asarray(self._translate_errors(lambda: self._run(planes)), np.float32)
        if logits.shape != (1, *_LOGITS):
            raise ModelError(f"{self.path}: expected logits of shape {(1, *_LOGITS)}, got {logits.shape}")
        # Grid point i is the center of pixel 16 i of the resized image.
        return SoftLabels(logits[0], (0.5 / rows, 0.5 / columns), (STRIDE / rows, STRIDE / columns))

    def _translate_errors(self, call: Callable[[], _Result]) -> _Result:
        """Call the engine; its errors become a ModelError of one line."""
        try:
            return call()
        except Exception as error:  # those of the engines have no common base
            reason = " ".join(str(error).split())[:_MAX_REASON]
            raise ModelError(f"{self.path}: expected DeepLabV3, but it cannot be run ({reason})") from error


def _cut_after_last_convolution(path: Path) -> "ModelProto":
    """The graph with the output of its last convolution as its only output."""
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra("a DeepLab teacher", "train") from error

    if not path.is_file():
        raise ModelError(f"{path}: expected the ONNX file of a teacher, got a path that does not exist")
    require_plain_onnx(path)
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's errors have no common base
        raise ModelError(f"{path}: expected the ONNX file of a teacher, got an unreadable file") from error
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    channels = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if tensor.dims}
    kernel = next(iter(convolutions[-1].input[1:2]), None) if convolutions else None
    if channels.get(kernel) != len(VOC) + 1 or len(model.graph.input) != 1:
        raise ModelError(f"{path}: expected DeepLabV3 with {len(VOC) + 1} channels, got another network")
    logits = onnx.helper.make_tensor_value_info(convolutions[-1].output[0], onnx.TensorProto.FLOAT, None)
    last = model.graph.node[: list(model.graph.node).index(convolutions[-1]) + 1]
    graph = onnx.helper.make_graph(last, "teacher", list(model.graph.input), [logits], list(model.graph.initializer))
    return onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _open(model: "ModelProto", threads: int) -> _Run:
    name = model.graph.input[0].name
    content = model.SerializeToString()
    try:
        core = shared_core()
    except MissingExtra:
        import onnxruntime

        session = onnxruntime.InferenceSession(content, session_options(threads), providers=["CPUExecutionProvider"])
        return lambda pixels: np.asarray(session.run(None, {name: pixels})[0])
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(core.read_model(content), "CPU", settings)
    return lambda pixels: np.asarray(compiled(pixels)[0])
