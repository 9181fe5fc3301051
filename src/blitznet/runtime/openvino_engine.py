"""OpenVinoEngine: a model file on OpenVINO. The only file of this room that imports it."""

import re
import sys
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast
from zipfile import ZIP_STORED, BadZipFile, ZipFile

from blitznet.core.arrays import RGBArray
from blitznet.core.errors import MissingExtra, ModelError
from blitznet.core.outputs import NmsOutputs, Outputs, outputs_from
from blitznet.core.spec import METADATA_KEY, Precision, Spec, read_spec
from blitznet.runtime.cache import cache_folder
from blitznet.runtime.engine import INPUT
from blitznet.runtime.threads import replicas_for, threads_for

SUFFIX = ".openvino"
"""of one zip that holds what OpenVINO writes as two files, and the contract"""
GRAPH, WEIGHTS, CONTRACT = "model.xml", "model.bin", "contract.json"
"""names inside it"""
_KEPT = 6
"""batch sizes whose compiled models are kept: one, a batch, what is left at the end, the server's powers of two"""


class OpenVinoEngine:
    """Runs an exported network on the CPU: an `.onnx` file or an `.openvino` one.

    The network is compiled for each batch size it meets, since one for all sizes takes a sixth longer.
    """

    name = "openvino"

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        """Open the file with `threads` threads of computing, one for each processor if not given.

        Compiles it for one image, or takes that from the user's cache folder. Raises ModelError if the file is
        missing, broken, of another maker or of another version, MissingExtra without openvino.
        """
        self.path = Path(path)
        count = threads_for(threads)
        if not self.path.is_file():
            raise ModelError(f"{self.path}: there is no such model file")
        import_openvino()
        self._model, text = _read_zip(self.path) if self.path.suffix == SUFFIX else _read_onnx(self.path)
        self._spec = read_spec(text, source=str(self.path))
        self._settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": count,
            "INFERENCE_PRECISION_HINT": inference_precision(self._spec.precision),
            "ENABLE_CPU_PINNING": False,  # two processes would be pinned to the same processors; alone it gains nothing
        }
        self._requests: OrderedDict[int, Any] = OrderedDict()  # by batch size, the least recently used first
        self._lanes: tuple[OpenVinoEngine, ...] = ()
        self._request(1)

    @property
    def spec(self) -> Spec:
        """The contract found in the file."""
        return self._spec

    def run(self, images: RGBArray) -> Outputs | NmsOutputs:
        """Answers to images (B, h, w, 3) uint8 RGB. One caller at a time."""
        # Copies what comes out, which OpenVINO writes over at the next run; measured no slower than fresh arrays.
        given = self._request(len(images)).infer({INPUT: images}, share_inputs=True, share_outputs=False)
        return outputs_from({output.any_name: array for output, array in given.items()}, source=str(self.path))

    def divided(self) -> tuple["OpenVinoEngine", ...]:
        """One for each thread, up to eight.

        Each is a compilation of its own: OpenVINO's streams, which share one, give a tenth fewer images a second.
        """
        threads = self._settings["INFERENCE_NUM_THREADS"]
        if threads == 1:
            return (self,)
        self._lanes = self._lanes or tuple(self._lane(each) for each in replicas_for(threads))
        return self._lanes

    def _lane(self, threads: int) -> "OpenVinoEngine":
        lane = copy(self)
        lane._model = self._model.clone()  # which a batch of another size reshapes
        lane._settings = {**self._settings, "INFERENCE_NUM_THREADS": threads}
        lane._requests = OrderedDict()
        lane._request(1)
        return lane

    def _request(self, batch: int) -> Any:
        if batch not in self._requests:
            self._requests[batch] = self._compiled(batch).create_infer_request()
            if len(self._requests) > _KEPT:
                self._requests.popitem(last=False)
        self._requests.move_to_end(batch)
        return self._requests[batch]

    def _compiled(self, batch: int) -> Any:
        """The network for one batch size; a cache that does not work is left aside."""
        shape = self._model.input(INPUT).partial_shape
        shape[0] = batch
        _told(self.path, lambda: self._model.reshape({INPUT: shape}))
        folder = cache_folder(self.name)
        if folder is not None:
            with suppress(RuntimeError):
                settings = {**self._settings, "CACHE_DIR": str(folder)}
                return shared_core(cached=True).compile_model(self._model, "CPU", settings)
        return _told(self.path, lambda: shared_core().compile_model(self._model, "CPU", self._settings))


def inference_precision(precision: Precision) -> str:
    """What a file of this precision is computed in, OpenVINO's name; of an int8 one that is the rest, left in float.

    It may be bfloat16 on processors made for it, a twelfth less time for the default: next to what 8 bits lose, what
    bfloat16 does is nothing.
    """
    if precision == "int8":
        return "bf16" if "BF16" in shared_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
    return "bf16" if precision == "bfloat16" else "f32"


@cache
def shared_core(*, cached: bool = False) -> Any:  # noqa: ARG001 - it tells two cores apart
    """OpenVINO's core, one for the whole process: for models that are kept compiled on disk, or for the others.

    Each core lays the main thread's signals a stack of their own and, when it goes, puts back the one before it,
    which with several may be gone by then: the next Ctrl-C would end the process with a segmentation fault.
    Cores that stay do not. Raises MissingExtra without openvino.
    """
    return import_openvino().Core()


def import_openvino() -> ModuleType:
    """The openvino package, which otherwise reports to its maker over the network that it was imported.

    It does so through openvino_telemetry, unless the user refused, and goes without where that is not installed.
    """
    cast("dict[str, ModuleType | None]", sys.modules).setdefault("openvino_telemetry", None)
    try:
        import openvino
    except ImportError as error:
        raise MissingExtra("the engine openvino", "openvino") from error
    module: ModuleType = openvino
    return module


def _read_onnx(path: Path) -> tuple[Any, str | None]:
    """The network and its contract's text, None if there is none."""
    from openvino.frontend import FrontEndManager

    # The one reader by name: asked to find out, OpenVINO lets all of its readers print what they think of the file.
    reader = FrontEndManager().load_by_framework("onnx")
    model = _told(path, lambda: reader.convert(reader.load(str(path))))
    notes = model.get_rt_info()["framework"] if model.has_rt_info("framework") else {}  # the ONNX file's metadata
    return model, str(model.get_rt_info(["framework", METADATA_KEY]).value) if METADATA_KEY in notes else None


def _read_zip(path: Path) -> tuple[Any, str]:
    try:
        with ZipFile(path) as file:
            if any(part.compress_type != ZIP_STORED for part in file.infolist()):
                raise BadZipFile("its parts are compressed")  # ours are not, and one that is could unpack to anything
            graph, weights, text = (file.read(name) for name in (GRAPH, WEIGHTS, CONTRACT))
    except (OSError, BadZipFile, KeyError, RuntimeError) as error:
        expected = f"a zip of {GRAPH}, {WEIGHTS} and {CONTRACT}"
        raise ModelError(
            f"{path}: cannot be opened, expected {expected} ({error}); make one with `blitznet export`"
        ) from error
    return _told(path, lambda: shared_core().read_model(graph, weights)), text.decode("utf-8", "replace")


def _told(path: Path, work: Callable[[], Any]) -> Any:
    """OpenVINO's errors, pages of its sources, as one line."""
    try:
        return work()
    except Exception as error:  # its kinds have no common base
        reason = re.sub(r"(Exception from|failed at) \S+:\d+:\s", "", " ".join(str(error).split()))[:200]
        raise ModelError(
            f"{path}: OpenVINO cannot open it, expected a model made by `blitznet export` ({reason})"
        ) from error
