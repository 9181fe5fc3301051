"""OnnxEngine: a model file on onnxruntime."""

from pathlib import Path
from typing import Any, Literal

from blitznet.core.arrays import RGBArray
from blitznet.core.errors import ModelError, UsageError
from blitznet.core.outputs import NmsOutputs, Outputs, outputs_from
from blitznet.core.spec import METADATA_KEY, Spec, read_spec
from blitznet.runtime.cache import cache_folder
from blitznet.runtime.engine import INPUT
from blitznet.runtime.threads import replicas_for, threads_for

OnnxName = Literal["onnxruntime", "onnxruntime-cuda", "onnxruntime-tensorrt"]
_PROVIDERS: dict[OnnxName, str] = {
    "onnxruntime": "CPUExecutionProvider",
    "onnxruntime-cuda": "CUDAExecutionProvider",
    "onnxruntime-tensorrt": "TensorrtExecutionProvider",
}
_ERRORS_ONLY = 3


class OnnxEngine:
    """Runs an exported network; the file says itself what it is."""

    def __init__(self, path: str | Path, threads: int | None = None, *, name: OnnxName = "onnxruntime") -> None:
        """Open the file with `threads` threads of computing, one for each processor if not given.

        `name` says on what: the processors, or a graphics card through CUDA or TensorRT, if the onnxruntime
        that is installed knows them. Raises ModelError if the file is missing, broken, of another maker, of
        another version or of a precision that onnxruntime does not compute in, UsageError without that engine.
        """
        self.path = Path(path)
        self.name = name
        self._threads = threads_for(threads)
        self._session = _session(self.path, self._threads, name)
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        self._spec = read_spec(text, source=str(self.path))
        if self._spec.precision == "bfloat16":
            raise ModelError(
                f"{self.path}: is to be computed in bfloat16, which onnxruntime does not do; use `--engine openvino`"
            )
        self._lanes: tuple[OnnxEngine, ...] = ()
        self._outputs = [output.name for output in self._session.get_outputs()]

    @property
    def spec(self) -> Spec:
        """The contract found in the file."""
        return self._spec

    def run(self, images: RGBArray) -> Outputs | NmsOutputs:
        """Answers to images (B, h, w, 3) uint8 RGB."""
        arrays = self._session.run(self._outputs, {INPUT: images})
        return outputs_from(dict(zip(self._outputs, arrays, strict=True)), source=str(self.path))

    def divided(self) -> tuple["OnnxEngine", ...]:
        """One for each thread, up to eight; a graphics card is not divided."""
        if self.name != "onnxruntime" or self._threads == 1:
            return (self,)
        self._lanes = self._lanes or tuple(OnnxEngine(self.path, threads) for threads in replicas_for(self._threads))
        return self._lanes


def _session(path: Path, threads: int, name: OnnxName) -> Any:
    if not path.is_file():
        raise ModelError(f"{path}: there is no such model file")
    import onnxruntime

    chosen = providers(name, onnxruntime.get_available_providers())
    options = onnxruntime.SessionOptions()
    # a number, not 0: with 0 onnxruntime pins its threads, which fails loudly where processors are limited
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads without work spin as long as the network runs, which is fastest, and no longer: then others have work.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = _ERRORS_ONLY
    try:
        return onnxruntime.InferenceSession(path, options, providers=chosen)
    except Exception as error:  # onnxruntime's own kinds have no common base
        reason = " ".join(str(error).split())
        raise ModelError(f"{path}: onnxruntime cannot open it, expected an ONNX model ({reason})") from error


def providers(name: OnnxName, available: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """What a session computes on, with its settings: each operation on the first that can do it.

    Raises UsageError where the onnxruntime that is installed does not have it.
    """
    if _PROVIDERS[name] not in available:
        there = ", ".join(known for known, provider in _PROVIDERS.items() if provider in available)
        raise UsageError(
            f"engine: this onnxruntime has no {name}, it has {there}; install onnxruntime-gpu for the others"
        )
    cpu: tuple[str, dict[str, Any]] = (_PROVIDERS["onnxruntime"], {})
    cuda: tuple[str, dict[str, Any]] = (_PROVIDERS["onnxruntime-cuda"], {"use_tf32": 0})  # float32 is what is promised
    if name == "onnxruntime":
        return [cpu]
    if name == "onnxruntime-cuda":
        return [cuda, cpu]
    folder = cache_folder(name)
    kept: dict[str, Any] = {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(folder)} if folder else {}
    return [(_PROVIDERS[name], kept), cuda, cpu]
