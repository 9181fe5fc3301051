"""OnnxEngine: a model file on onnxruntime."""

import re
from pathlib import Path
from typing import Any, Literal

import numpy as np

from blitznet.core.arrays import RGBArray
from blitznet.core.errors import ModelError, UsageError
from blitznet.core.model_content import (
    KNOWN_OUTPUTS,
    join_outputs,
    require_matching_tensors,
    require_plain_onnx,
)
from blitznet.core.outputs import NmsOutputs, Outputs
from blitznet.core.spec import METADATA_KEY, Spec, read_spec
from blitznet.runtime.cache import cache_folder
from blitznet.runtime.engine import INPUT_NAME
from blitznet.runtime.onnx_session import session_options
from blitznet.runtime.threads import replica_threads, resolve_threads

OnnxName = Literal["onnxruntime", "onnxruntime-cuda", "onnxruntime-tensorrt"]
_PROVIDERS: dict[OnnxName, str] = {
    "onnxruntime": "CPUExecutionProvider",
    "onnxruntime-cuda": "CUDAExecutionProvider",
    "onnxruntime-tensorrt": "TensorrtExecutionProvider",
}
_MAX_REASON = 300
"""characters of onnxruntime's own message in an error"""
_INTERNALS = r"\[ONNXRuntimeError\] : \d+ : \w+ : |/onnxruntime_src/\S+ [^()]*\([^()]*\) (const )?"
"""codes, source files and functions in such a message"""


class OnnxEngine:
    """Runs an `.onnx` file of `blitznet export`; its metadata contains the spec."""

    def __init__(self, path: str | Path, threads: int | None = None, *, name: OnnxName = "onnxruntime") -> None:
        """Open a model file.

        Args:
            path: The file.
            threads: Threads to compute with. Default: one for each available processor.
            name: `onnxruntime` for the CPU; the others for CUDA or TensorRT, which need onnxruntime-gpu.

        Raises:
            ModelError: The file is missing or broken, has no spec, or is in bfloat16.
            UsageError: The installed onnxruntime does not have this engine.
        """
        self.path = Path(path)
        self.name = name
        self._threads = resolve_threads(threads)
        self._session = _open_session(self.path, self._threads, name)
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        self._spec = read_spec(text, source=str(self.path))
        require_matching_tensors(
            self._spec,
            {tensor.name: _shape(tensor) for tensor in self._session.get_inputs()},
            {tensor.name: _shape(tensor) for tensor in self._session.get_outputs()},
            input_name=INPUT_NAME,
            source=str(self.path),
        )
        if self._spec.precision == "bfloat16":
            raise ModelError(f"{self.path}: onnxruntime does not compute in bfloat16; use --engine openvino")
        self._replicas: tuple[OnnxEngine, ...] = ()
        image_input = self._session.get_inputs()[0]
        self._is_static = image_input.shape[0] == 1
        self._input_type = np.float32 if image_input.type == "tensor(float)" else np.uint8
        self._output_names = [output.name for output in self._session.get_outputs() if output.name in KNOWN_OUTPUTS]

    @property
    def spec(self) -> Spec:
        """The spec in the file."""
        return self._spec

    def run(self, images: RGBArray) -> Outputs | NmsOutputs:
        """Outputs for images (B, h, w, 3) uint8 RGB; one after the other if the file's batch is fixed."""
        parts = [images[index : index + 1] for index in range(len(images))] if self._is_static else [images]
        arrays = [self._run_batch(part.astype(self._input_type, copy=False)) for part in parts]
        return join_outputs(self._spec, arrays, batch=len(images), source=str(self.path))

    def _run_batch(self, images: Any) -> dict[str, Any]:
        try:
            outputs: list[Any] = self._session.run(self._output_names, {INPUT_NAME: images})
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise ModelError(f"{self.path}: onnxruntime cannot run the model ({_reason(error)})") from error
        return dict(zip(self._output_names, outputs, strict=True))

    def replicate(self) -> tuple["OnnxEngine", ...]:
        """One engine for each thread, at most eight; this one alone on a GPU."""
        if self.name != "onnxruntime" or self._threads == 1:
            return (self,)
        self._replicas = self._replicas or tuple(
            OnnxEngine(self.path, threads) for threads in replica_threads(self._threads)
        )
        return self._replicas


def _open_session(path: Path, threads: int, name: OnnxName) -> Any:
    if not path.is_file():
        raise ModelError(f"{path}: expected a model file, got a path that does not exist")
    require_plain_onnx(path)
    import onnxruntime

    providers = execution_providers(name, onnxruntime.get_available_providers())
    options = session_options(threads)
    # Idle threads spin while the network runs, which is fastest, and stop after it, which frees the processors.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise ModelError(
            f"{path}: expected an ONNX model, but onnxruntime cannot open it ({_reason(error)})"
        ) from error


def _reason(error: Exception) -> str:
    """The message of onnxruntime without codes, source files and functions."""
    return re.sub(_INTERNALS, "", " ".join(str(error).split()))[:_MAX_REASON]


def has_spec(path: Path) -> bool:
    """Whether an ONNX file has a spec in its metadata.

    Raises:
        ModelError: The file is missing or broken.
    """
    return METADATA_KEY in _open_session(path, 1, "onnxruntime").get_modelmeta().custom_metadata_map


def _shape(tensor: Any) -> tuple[int | None, ...]:
    """Sizes of a tensor of the file; None for an axis that is free."""
    return tuple(size if isinstance(size, int) else None for size in tensor.shape)


def execution_providers(name: OnnxName, available: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """Execution providers of onnxruntime and their options; each operator runs on the first that supports it.

    Raises:
        UsageError: The engine's provider is not available.
    """
    if _PROVIDERS[name] not in available:
        engines = ", ".join(engine for engine, provider in _PROVIDERS.items() if provider in available)
        raise UsageError(
            f"engine: expected one that this onnxruntime supports ({engines}), got {name}; install onnxruntime-gpu"
        )
    cpu: tuple[str, dict[str, Any]] = (_PROVIDERS["onnxruntime"], {})
    cuda: tuple[str, dict[str, Any]] = (_PROVIDERS["onnxruntime-cuda"], {"use_tf32": 0})  # full float32 precision
    if name == "onnxruntime":
        return [cpu]
    if name == "onnxruntime-cuda":
        return [cuda, cpu]
    folder = cache_folder(name)
    options: dict[str, Any] = {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(folder)} if folder else {}
    return [(_PROVIDERS[name], options), cuda, cpu]
