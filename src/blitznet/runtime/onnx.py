"""OnnxEngine: a model file on onnxruntime. The only file that imports it."""

import os
from pathlib import Path
from typing import Any

from blitznet.core.arrays import Image
from blitznet.core.errors import ModelError, UsageError
from blitznet.core.result import Outputs
from blitznet.core.spec import Spec

KEY = "blitznet"
"""the contract's key in the file's metadata"""
VERSION = 1
"""of contracts that this code reads"""
INPUT = "images"
OUTPUTS = ("offsets", "logits", "class_map")
_ERRORS_ONLY = 3


class OnnxEngine:
    """Runs an exported network; the file says itself what it is."""

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        """Open the file with `threads` threads of computing, one for each processor if not given.

        Raises ModelError if the file is missing, broken, of another maker or of another version.
        """
        self.path = Path(path)
        self._session = _session(self.path, threads)
        self._spec = _contract(self._session, self.path)
        self._outputs = [output.name for output in self._session.get_outputs()]

    @property
    def spec(self) -> Spec:
        """The contract found in the file."""
        return self._spec

    def run(self, images: Image) -> Outputs:
        """Raw answers to images (B, h, w, 3) uint8 RGB."""
        answers = dict(zip(self._outputs, self._session.run(self._outputs, {INPUT: images}), strict=True))
        return Outputs(**{name: answers.get(name) for name in OUTPUTS})


def available_threads() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _session(path: Path, threads: int | None) -> Any:
    if threads is not None and threads < 1:
        raise UsageError(f"threads: wanted 1 or more, came {threads}")
    if not path.is_file():
        raise ModelError(f"{path}: there is no such model file")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # a number, not 0: with 0 onnxruntime pins its threads, which fails loudly where processors are limited
    options.intra_op_num_threads = threads or available_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds have no common base
        reason = " ".join(str(error).split())
        raise ModelError(f"{path}: onnxruntime cannot open it, wanted an ONNX model ({reason})") from error


def _contract(session: Any, path: Path) -> Spec:
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    if text is None:
        raise ModelError(f"{path}: not a blitznet model, its metadata has no '{KEY}'; make one with `blitznet export`")
    try:
        spec = Spec.from_json(text)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    if spec.version != VERSION:
        raise ModelError(f"{path}: wanted a contract of version {VERSION}, came {spec.version}; update blitznet")
    return spec
