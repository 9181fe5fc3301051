"""OpenVinoEngine: a model file on OpenVINO. The only file of this package that imports it."""

import re
import sys
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from functools import cache
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any, cast
from zipfile import ZipFile

import numpy as np

from blitznet.core.arrays import RGBArray
from blitznet.core.errors import MissingExtra, ModelError
from blitznet.core.model_content import (
    ZIP_ERRORS,
    join_outputs,
    require_matching_tensors,
    require_plain_onnx,
    require_stored_parts,
)
from blitznet.core.outputs import NmsOutputs, Outputs
from blitznet.core.spec import METADATA_KEY, Precision, Spec, read_spec
from blitznet.runtime.cache import cache_folder
from blitznet.runtime.engine import INPUT_NAME
from blitznet.runtime.threads import replica_threads, resolve_threads

SUFFIX = ".openvino"
"""suffix of a zip with the two files that OpenVINO writes, and the spec"""
GRAPH, WEIGHTS, SPEC = "model.xml", "model.bin", "spec.json"
"""names of the files in the zip"""
_BODY_MARKS = (b"<body", b"<then_body", b"<else_body", b"\0")
"""bytes of a graph with loops or branches, which `export` never writes; zeros are in encodings other than UTF-8"""
_MAX_COMPILED = 6
"""maximum number of compiled batch sizes: 1, a full and a last batch, and the server's powers of 2"""
_opening = Lock()
"""held while an engine opens its file and runs its first inference"""


class OpenVinoEngine:
    """Runs an `.onnx` or `.openvino` file of `blitznet export` on the CPU.

    The network is compiled for each batch size: with a dynamic size it takes a sixth longer.
    """

    name = "openvino"

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        """Open a model file and compile it for one image, or load the compiled model from the user's cache folder.

        Args:
            path: The file.
            threads: Threads to compute with. Default: one for each available processor.

        Raises:
            ModelError: The file is missing or broken, or has no spec.
            MissingExtra: openvino is not installed.
        """
        # OpenVINO's Python bindings fill tables at their first use. Two threads that do so at the same time wait for
        # each other forever: one holds the GIL, the other the table. So the first uses are never at the same time.
        with _opening:
            self._open(Path(path), threads)
            self.run(np.zeros((1, *self._spec.size, 3), np.uint8))

    def _open(self, path: Path, threads: int | None) -> None:
        self.path = path
        count = resolve_threads(threads)
        if not self.path.is_file():
            raise ModelError(f"{self.path}: expected a model file, got a path that does not exist")
        import_openvino()
        self._model, text = _read_zip(self.path) if self.path.suffix == SUFFIX else _read_onnx(self.path)
        self._spec = read_spec(text, source=str(self.path))
        require_matching_tensors(
            self._spec,
            _shapes(self._model.inputs),
            _shapes(self._model.outputs),
            input_name=INPUT_NAME,
            source=str(self.path),
        )
        image_input = self._model.input(INPUT_NAME)
        self._is_static = image_input.partial_shape[0].is_static
        self._input_type = np.float32 if image_input.element_type == import_openvino().Type.f32 else np.uint8
        self._settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": count,
            "INFERENCE_PRECISION_HINT": inference_precision(self._spec.precision),
            "ENABLE_CPU_PINNING": False,  # would pin two processes to the same processors, and gains nothing for one
        }
        self._requests: OrderedDict[int, Any] = OrderedDict()  # by batch size, least recently used first
        self._replicas: tuple[OpenVinoEngine, ...] = ()
        self._lock, self._model_lock = Lock(), Lock()
        self._request(1)
        require_matching_tensors(  # again: some sizes are known for a fixed batch only
            self._spec,
            _shapes(self._model.inputs),
            _shapes(self._model.outputs),
            input_name=INPUT_NAME,
            source=str(self.path),
        )

    @property
    def spec(self) -> Spec:
        """The spec in the file."""
        return self._spec

    def run(self, images: RGBArray) -> Outputs | NmsOutputs:
        """Outputs for images (B, h, w, 3) uint8 RGB."""
        # Outputs are copied, because the next run overwrites them; that is no slower than allocating new ones.
        parts = [images[index : index + 1] for index in range(len(images))] if self._is_static else [images]
        arrays = [self._run_batch(part.astype(self._input_type, copy=False)) for part in parts]
        return join_outputs(self._spec, arrays, batch=len(images), source=str(self.path))

    def _run_batch(self, images: Any) -> dict[str, Any]:
        with self._lock:  # a request runs one batch at a time; callers in other threads wait
            request = self._request(len(images))
            outputs = _translate_errors(
                self.path, lambda: request.infer({INPUT_NAME: images}, share_inputs=True, share_outputs=False)
            )
            return {name: array for output, array in outputs.items() for name in output.names}

    def replicate(self) -> tuple["OpenVinoEngine", ...]:
        """One engine for each thread, at most eight."""
        # Each is compiled separately: OpenVINO's streams share one model but give a tenth fewer images per second.
        threads = self._settings["INFERENCE_NUM_THREADS"]
        if threads == 1:
            return (self,)
        if not self._replicas:
            with self._lock:
                self._requests.clear()  # 45 MB, and rarely used beside the replicas; compiled again if it is
            self._replicas = tuple(self._replica(count) for count in replica_threads(threads))
        return self._replicas

    def _replica(self, threads: int) -> "OpenVinoEngine":
        replica = copy(self)  # of the same model: a clone would need its memory again
        replica._settings = {**self._settings, "INFERENCE_NUM_THREADS": threads}
        replica._requests = OrderedDict()
        replica._lock = Lock()
        replica._request(1)
        return replica

    def _request(self, batch: int) -> Any:
        """The inference request of the model compiled for one batch size."""
        if batch not in self._requests:
            self._requests[batch] = self._compile(batch).create_infer_request()
            if len(self._requests) > _MAX_COMPILED:
                self._requests.popitem(last=False)
        self._requests.move_to_end(batch)
        return self._requests[batch]

    def _compile(self, batch: int) -> Any:
        """Compile for one batch size; without the cache if that is broken."""
        with self._model_lock:  # replicas reshape the same model
            return self._compile_reshaped(batch)

    def _compile_reshaped(self, batch: int) -> Any:
        shape = self._model.input(INPUT_NAME).partial_shape
        shape[0] = batch
        _translate_errors(self.path, lambda: self._model.reshape({INPUT_NAME: shape}))
        folder = cache_folder(self.name)
        if folder is not None:
            with suppress(RuntimeError):
                settings = {**self._settings, "CACHE_DIR": str(folder)}
                return shared_core(cached=True).compile_model(self._model, "CPU", settings)
        return _translate_errors(self.path, lambda: shared_core().compile_model(self._model, "CPU", self._settings))


def inference_precision(precision: Precision) -> str:
    """OpenVINO's precision hint for a model's precision."""
    # For int8 the hint applies to the operators that stay in float. They run in bfloat16 on processors that support it,
    # which takes a twelfth less time and changes less than the quantization did.
    if precision == "int8":
        return "bf16" if "BF16" in shared_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
    return "bf16" if precision == "bfloat16" else "f32"


@cache
def shared_core(*, cached: bool = False) -> Any:  # noqa: ARG001 - each value has its own core
    """OpenVINO's core, one for the process: with a cache of compiled models on disk, or without.

    Raises:
        MissingExtra: openvino is not installed.
    """
    # Each core installs a signal stack for the main thread and restores the previous one when it is deleted. With
    # several cores that one may be freed already, and the next Ctrl-C ends the process with a segmentation fault. So
    # cores are never deleted.
    return import_openvino().Core()


def import_openvino() -> ModuleType:
    """Import openvino without its telemetry.

    Raises:
        MissingExtra: openvino is not installed.
    """
    # openvino reports each import over the network through openvino_telemetry, and works without that module.
    cast("dict[str, ModuleType | None]", sys.modules).setdefault("openvino_telemetry", None)
    try:
        import openvino
    except ImportError as error:
        raise MissingExtra("the engine openvino", "openvino") from error
    module: ModuleType = openvino
    return module


def _read_onnx(path: Path) -> tuple[Any, str | None]:
    """The network, and the spec's JSON or None."""
    require_plain_onnx(path)
    from openvino.frontend import FrontEndManager

    # By name: to detect the format, OpenVINO would try all of its frontends, which print their errors.
    frontend = FrontEndManager().load_by_framework("onnx")
    model = _translate_errors(path, lambda: frontend.convert(frontend.load(str(path))))
    metadata = model.get_rt_info()["framework"] if model.has_rt_info("framework") else {}  # metadata of the ONNX file
    return model, str(model.get_rt_info(["framework", METADATA_KEY]).value) if METADATA_KEY in metadata else None


def _read_zip(path: Path) -> tuple[Any, str]:
    graph, weights, text = read_parts(path)
    if any(mark in graph for mark in _BODY_MARKS):
        raise ModelError(
            f"{path}: expected a model of one graph in UTF-8, got loops, branches or another encoding; export the "
            "model again"
        )
    return _translate_errors(path, lambda: shared_core().read_model(graph, weights)), text.decode("utf-8", "replace")


def read_parts(path: Path) -> tuple[bytes, bytes, bytes]:
    """The graph, the weights and the spec in an `.openvino` file. Raises ModelError for a broken file."""
    try:
        with ZipFile(path) as file:
            require_stored_parts(file)
            spec = next(filter(is_spec, file.namelist()), SPEC)
            return file.read(GRAPH), file.read(WEIGHTS), file.read(spec)
    except ZIP_ERRORS as error:
        raise ModelError(
            f"{path}: expected a zip of {GRAPH}, {WEIGHTS} and {SPEC}, but it cannot be opened ({error}); "
            "make one with `blitznet export`"
        ) from error


def _shapes(tensors: Any) -> dict[str, tuple[int | None, ...]]:
    """Names and sizes of a model's inputs or outputs; None for an axis that is free."""
    return {
        name: _shape(tensor.partial_shape)
        for tensor in tensors
        for name in ([INPUT_NAME] if INPUT_NAME in tensor.names else tensor.names)
    }


def _shape(shape: Any) -> tuple[int | None, ...]:
    if shape.rank.is_dynamic:  # cannot be iterated; no tensor of ours is without axes
        return ()
    return tuple(None if size.is_dynamic else size.get_length() for size in shape)


def is_spec(name: str) -> bool:
    """Whether a file in the zip is the spec; files of spec version 1 have another name than `SPEC`."""
    return name.endswith(".json")


def _translate_errors(path: Path, call: Callable[[], Any]) -> Any:
    """Call OpenVINO; its errors, which are pages long, become a ModelError of one line."""
    try:
        return call()
    except Exception as error:  # its exceptions have no common base
        reason = re.sub(r"(Exception from|failed at) \S+:\d+:\s", "", " ".join(str(error).split()))[:200]
        raise ModelError(
            f"{path}: expected a model of `blitznet export`, but OpenVINO cannot open it ({reason})"
        ) from error
