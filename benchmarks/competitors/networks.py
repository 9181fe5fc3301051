"""The competitors' networks on either engine and in any precision.

Pre- and postprocessing are those of the reference code (`peers.py` beside the model files), with its slow parts
replaced: NMS is blitznet's, for all classes at once, and pixels are normalized in float32.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blitznet.core.arrays import Floats, RGBArray
from blitznet.core.classes import canonical
from blitznet.core.errors import UsageError
from blitznet.core.spec import Precision
from blitznet.postprocess.nms import batched_nms
from blitznet.runtime.memory import keep_freed_memory
from blitznet.runtime.openvino_engine import inference_precision, shared_core

PEERS = Path(__file__).parents[3] / "shared" / "peers"
"""default folder of the model files and their reference code, beside the repository"""

Runtime = Literal["onnxruntime", "openvino"]
Arrays = dict[str, Floats]
TOPK_CANDIDATES, MAX_DETECTIONS, MAX_PER_CLASS, NMS_THRESHOLD = 400, 200, 50, 0.5
"""as in the reference code"""
_LOG_ERRORS_ONLY = 3


@dataclass(frozen=True, slots=True)
class Competitor:
    """A network of another project."""

    title: str
    name: str
    """name of its class in the reference code"""
    file: str


COMPETITORS = (
    Competitor("SSDLite", "SsdLite", "ssdlite_mnv2_coco_300.onnx"),
    Competitor("PicoDet-S", "PicoDet", "picodet_s_coco_416.onnx"),
    Competitor("FastestDet", "FastestDet", "fastestdet_coco_352.onnx"),
    Competitor("DeepLab", "DeepLab", "deeplabv3_mnv2_voc_513.onnx"),
)
SEGMENTER = COMPETITORS[-1]


@dataclass(frozen=True, slots=True)
class Setup:
    """How a competitor's network runs."""

    runtime: Runtime
    precision: Precision
    threads: int
    file: Path | None = None
    """model file; None for the competitor's own"""


class Session:
    """Replaces the onnxruntime session of the reference code; keeps the network's last input."""

    def __init__(self, path: Path, setup: Setup) -> None:
        opened = _onnxruntime if setup.runtime == "onnxruntime" else _openvino
        self.input, self._run = opened(path, setup)
        self.last_input: Arrays = {}

    def run(self, names: None, inputs: Arrays) -> Sequence[NDArray[Any]]:  # noqa: ARG002 - onnxruntime's signature
        """All outputs of the network."""
        self.last_input = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        return self._run(self.last_input)

    def rerun(self) -> None:
        """Run the network alone, on its last input."""
        self._run(self.last_input)

    def get_inputs(self) -> list["_Input"]:
        """The single input."""
        return [_Input(self.input)]


class CompetitorPredictor:
    """Predicts an image (H, W, 3) uint8 RGB: boxes, scores and labels of a detector, the class map of a segmenter."""

    def __init__(
        self, competitor: Competitor, setup: Setup, folder: Path = PEERS, *, class_names: Sequence[str] | None = None
    ) -> None:
        """Open the network. A detector's labels are indices into `class_names`; other classes are left out.

        Without `class_names` they are the `VOC` of the reference code.

        Raises:
            UsageError: The folder lacks the reference code.
        """
        keep_freed_memory()
        session = Session(setup.file or folder / competitor.file, setup)
        self.session = session
        module = load_reference(folder)
        vars(module).update(
            session=lambda _: session,
            resized=_resize,
            detections=_detections_function(module, module.VOC if class_names is None else class_names),
        )
        self._predict: Callable[[RGBArray], Any] = getattr(module, competitor.name)()

    def __call__(self, image: RGBArray) -> Any:
        """Preprocess, run and postprocess one image."""
        return self._predict(image)


def load_reference(folder: Path = PEERS) -> ModuleType:
    """Import a new copy of the reference code."""
    path = folder / "peers.py"
    if not path.is_file():
        raise UsageError(f"{path}: expected a file, got a path that does not exist; name another folder with --peers")
    spec = spec_from_file_location("reference_peers", path)
    assert spec is not None
    assert spec.loader is not None, "a .py file has a loader"
    module = module_from_spec(spec)
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # the folder may be read-only
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = writes
    return module


@dataclass(frozen=True, slots=True)
class _Input:
    name: str


class _Float32Pixels(np.ndarray[Any, np.dtype[Any]]):
    """Pixels that arithmetic keeps in float32, where the tuples of the reference code would make them float64."""

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        pixels, constants = (np.asarray(value, np.float32) for value in inputs)
        if constants.ndim != 1:
            return getattr(ufunc, method)(pixels, constants, **options).view(_Float32Pixels)
        height, width, _ = pixels.shape  # whole rows at once are five times as fast as three channels at once
        rows = getattr(ufunc, method)(pixels.reshape(height, -1), np.tile(constants, width), **options)
        return rows.reshape(pixels.shape).view(_Float32Pixels)


def _resize(image: RGBArray, width: int, height: int) -> _Float32Pixels:
    pixels = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    return pixels.view(_Float32Pixels)


def _detections_function(
    module: ModuleType, class_names: Sequence[str]
) -> Callable[..., tuple[Floats, Floats, NDArray[np.int64]]]:
    """The reference code's `detections` for some classes, without a loop over classes."""
    label_of = {canonical(name): label for label, name in enumerate(class_names)}
    columns = np.array([column for column, name in enumerate(module.NAMES) if canonical(name) in label_of])
    labels = np.array([label_of[canonical(module.NAMES[column])] for column in columns])

    def detections(boxes: Floats, scores: Floats, threshold: float = 0.01) -> tuple[Floats, Floats, NDArray[np.int64]]:
        table = scores[:, columns].T  # (20, A)
        group, anchor = np.nonzero(table > threshold)
        score = table[group, anchor]
        order = np.lexsort((-score, group))
        group, anchor, score = group[order], anchor[order], score[order]
        first = np.flatnonzero(np.diff(group, prepend=-1))
        rank = np.arange(len(group)) - np.repeat(first, np.diff(first, append=len(group)))
        best = rank < TOPK_CANDIDATES
        group, anchor, score = group[best], anchor[best], score[best]
        candidates = boxes[anchor].astype(np.float32)
        selected = np.flatnonzero(
            batched_nms(candidates, group, iou_threshold=NMS_THRESHOLD, max_detections=MAX_PER_CLASS)
        )
        index = selected[np.argsort(-score[selected], kind="stable")[:MAX_DETECTIONS]]
        return candidates[index], score[index], labels[group[index]]

    return detections


Opened = tuple[str, Callable[[Arrays], Sequence[NDArray[Any]]]]
"""name of the input, and the function that runs the network"""


def _onnxruntime(path: Path, setup: Setup) -> Opened:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = setup.threads, 1
    options.log_severity_level = _LOG_ERRORS_ONLY
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.get_inputs()[0].name, lambda inputs: session.run(None, inputs)


def _openvino(path: Path, setup: Setup) -> Opened:
    options = {  # as in runtime/openvino_engine.py
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": setup.threads,
        "INFERENCE_PRECISION_HINT": inference_precision(setup.precision),
        "ENABLE_CPU_PINNING": False,
    }
    compiled = shared_core().compile_model(str(path), "CPU", options)
    request, outputs = compiled.create_infer_request(), range(len(compiled.outputs))

    def run(inputs: Arrays) -> Sequence[NDArray[Any]]:
        results = request.infer(inputs, share_inputs=True, share_outputs=True)
        return [results[index] for index in outputs]

    return compiled.input(0).any_name, run
