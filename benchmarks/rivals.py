"""The networks a user would run instead, on either engine and in any precision.

What is done before and after each network is the reference's own (`peers.py` beside the files), with its slow
parts replaced: suppression is ours, all classes abreast, and pixels are computed with in float32.
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
from PIL import Image as Pillow

from blitznet.core.arrays import Floats, RGBArray
from blitznet.core.errors import UsageError
from blitznet.core.spec import Precision
from blitznet.postprocess.nms import batched_nms
from blitznet.runtime.memory import keep_freed_memory
from blitznet.runtime.openvino_engine import inference_precision, shared_core

HOME = Path(__file__).parents[2] / "shared" / "peers"
"""the peers' files, in a folder beside the repository"""

Runtime = Literal["onnxruntime", "openvino"]
Arrays = dict[str, Floats]
CANDIDATES, PER_IMAGE, PER_CLASS, OVERLAP = 400, 200, 50, 0.5
"""of suppression, as the reference has them"""
_ERRORS_ONLY = 3


@dataclass(frozen=True, slots=True)
class Peer:
    """One of them."""

    title: str
    name: str
    """its class in the reference"""
    file: str


PEERS = (
    Peer("SSDLite", "SsdLite", "ssdlite_mnv2_coco_300.onnx"),
    Peer("PicoDet-S", "PicoDet", "picodet_s_coco_416.onnx"),
    Peer("FastestDet", "FastestDet", "fastestdet_coco_352.onnx"),
    Peer("DeepLab", "DeepLab", "deeplabv3_mnv2_voc_513.onnx"),
)
SEGMENTER = PEERS[-1]


@dataclass(frozen=True, slots=True)
class Setup:
    """What a peer's network is run by."""

    runtime: Runtime
    precision: Precision
    threads: int
    file: Path | None = None
    """instead of the peer's own, such as the quantised one"""


class Session:
    """Stands where the reference has its onnxruntime session; remembers what the network was last fed."""

    def __init__(self, path: Path, setup: Setup) -> None:
        opened = _onnxruntime if setup.runtime == "onnxruntime" else _openvino
        self.input, self._run = opened(path, setup)
        self.fed: Arrays = {}

    def run(self, names: None, feed: Arrays) -> Sequence[NDArray[Any]]:  # noqa: ARG002 - as onnxruntime has it
        """All of the network's answers."""
        self.fed = {name: np.ascontiguousarray(value) for name, value in feed.items()}
        return self._run(self.fed)

    def again(self) -> None:
        """The network alone, on what it was fed last."""
        self._run(self.fed)

    def get_inputs(self) -> list["_Input"]:
        """The one input."""
        return [_Input(self.input)]


class Rival:
    """A peer, ready: an image (H, W, 3) uint8 RGB -> boxes, scores and labels, or a class map (H, W)."""

    def __init__(self, peer: Peer, setup: Setup, home: Path = HOME) -> None:
        """Open it. Raises UsageError where the peers' files are missing."""
        keep_freed_memory()
        session = Session(setup.file or home / peer.file, setup)
        self.session = session
        module = reference(home)
        vars(module).update(session=lambda _: session, resized=_resized, detections=_finder(module))
        self._see: Callable[[RGBArray], Any] = getattr(module, peer.name)()

    def __call__(self, image: RGBArray) -> Any:
        """The whole way of one image."""
        return self._see(image)


def reference(home: Path = HOME) -> ModuleType:
    """The reference, imported afresh."""
    path = home / "peers.py"
    if not path.is_file():
        raise UsageError(f"{path}: the peers are not there; --peers names another folder")
    found = spec_from_file_location("reference_peers", path)
    assert found is not None
    assert found.loader is not None, "a file that ends in .py has one"
    module = module_from_spec(found)
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # that folder is not ours to write to
    try:
        found.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = writes
    return module


@dataclass(frozen=True, slots=True)
class _Input:
    name: str


class _Single(np.ndarray[Any, np.dtype[Any]]):
    """Pixels that are computed with in float32, where the reference's tuples of constants would make it float64."""

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        pixels, constants = (np.asarray(value, np.float32) for value in inputs)
        if constants.ndim != 1:
            return getattr(ufunc, method)(pixels, constants, **options).view(_Single)
        height, width, _ = pixels.shape  # whole rows at a time: three numbers at a time take five times as long
        rows = getattr(ufunc, method)(pixels.reshape(height, -1), np.tile(constants, width), **options)
        return rows.reshape(pixels.shape).view(_Single)


def _resized(image: RGBArray, width: int, height: int) -> _Single:
    pixels = np.asarray(Pillow.fromarray(image).resize((width, height), Pillow.Resampling.BILINEAR))
    return pixels.view(_Single)


def _finder(module: ModuleType) -> Callable[..., tuple[Floats, Floats, NDArray[np.int64]]]:
    """The reference's `detections` for VOC's classes, without a loop over them."""
    names = [module.ALIAS.get(name, name) for name in module.NAMES]
    columns = np.array([place for place, name in enumerate(names) if name in module.VOC])
    labels = np.array([module.VOC.index(names[column]) for column in columns])

    def detections(boxes: Floats, scores: Floats, threshold: float = 0.01) -> tuple[Floats, Floats, NDArray[np.int64]]:
        table = scores[:, columns].T  # (20, A)
        group, anchor = np.nonzero(table > threshold)
        score = table[group, anchor]
        order = np.lexsort((-score, group))
        group, anchor, score = group[order], anchor[order], score[order]
        first = np.flatnonzero(np.diff(group, prepend=-1))
        rank = np.arange(len(group)) - np.repeat(first, np.diff(first, append=len(group)))
        best = rank < CANDIDATES
        group, anchor, score = group[best], anchor[best], score[best]
        placed = boxes[anchor].astype(np.float32)
        kept = np.flatnonzero(batched_nms(placed, group, iou_threshold=OVERLAP, max_detections=PER_CLASS))
        found = kept[np.argsort(-score[kept], kind="stable")[:PER_IMAGE]]
        return placed[found], score[found], labels[group[found]]

    return detections


Opened = tuple[str, Callable[[Arrays], Sequence[NDArray[Any]]]]
"""name of the input, and what runs the network"""


def _onnxruntime(path: Path, setup: Setup) -> Opened:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = setup.threads, 1
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.get_inputs()[0].name, lambda feed: session.run(None, feed)


def _openvino(path: Path, setup: Setup) -> Opened:
    options = {  # those of our own engine
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": setup.threads,
        "INFERENCE_PRECISION_HINT": inference_precision(setup.precision),
        "ENABLE_CPU_PINNING": False,
    }
    compiled = shared_core().compile_model(str(path), "CPU", options)
    request, outputs = compiled.create_infer_request(), range(len(compiled.outputs))

    def run(feed: Arrays) -> Sequence[NDArray[Any]]:
        found = request.infer(feed, share_inputs=True, share_outputs=True)
        return [found[place] for place in outputs]

    return compiled.input(0).any_name, run
