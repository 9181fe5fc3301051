"""ProgramEngine: runs a network exported as a torch program (.pt2), without the code that built it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from blitznet.core.errors import ModelError, UsageError
from blitznet.core.outputs import NmsOutputs, Outputs, outputs_from
from blitznet.core.spec import METADATA_KEY, Spec, read_spec
from blitznet.nets.deploy import output_names
from blitznet.nets.postprocess import nms_output_names

PROGRAM_SUFFIX = ".pt2"
"""of a torch program"""
NMS_KEY = "nms"
"""metadata entry, `True` or `False`: whether post-processing is inside the file"""
_V1_NMS_KEY = "finished"


class ProgramEngine:
    """Runs a program of `torch.export`, on the CPU."""

    name = "torch"

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        """Open a file.

        Args:
            path: The file, `.pt2`.
            threads: Threads of torch for the whole process. Default: torch's own choice.

        Raises:
            ModelError: The file is missing, broken, not a blitznet model or of another version.
            UsageError: `threads` is less than 1.
        """
        self.path = Path(path)
        if threads is not None and threads < 1:
            raise UsageError(f"threads: expected 1 or more, got {threads}")
        text, nms = _read_metadata(self.path)
        self.spec: Spec = read_spec(text, source=str(self.path))
        self._names = nms_output_names(self.spec) if nms else output_names(self.spec)
        if threads is not None:
            torch.set_num_threads(threads)
        self._program = _load(self.path)

    def run(self, images: NDArray[np.uint8]) -> Outputs | NmsOutputs:
        """Outputs for images (B, h, w, 3) uint8 RGB of the spec's size."""
        with torch.inference_mode():
            tensors = self._program(torch.from_numpy(np.ascontiguousarray(images)))
        arrays = (tensor.cpu().numpy() for tensor in tensors)
        return outputs_from(dict(zip(self._names, arrays, strict=True)), source=str(self.path))


def _read_metadata(path: Path) -> tuple[str | None, bool]:
    """The spec's text, and whether post-processing is inside; read without torch."""
    if not path.is_file():
        raise ModelError(f"{path}: expected a model file, got no file")
    try:
        with ZipFile(path) as file:
            texts = {
                name.rpartition("/extra/")[2]: file.read(name).decode() for name in file.namelist() if "/extra/" in name
            }
    except (OSError, BadZipFile, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: cannot be read as a torch program ({error})") from error
    return texts.get(METADATA_KEY), texts.get(NMS_KEY, texts.get(_V1_NMS_KEY)) == str(True)


def _load(path: Path) -> torch.nn.Module:
    try:
        with _suppress_logs():
            program: torch.nn.Module = torch.export.load(path).module()
    except Exception as error:  # whatever torch raises for a file of another version
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{path}: torch {torch.__version__} cannot open the program ({reason}); export it again"
        ) from error
    return program


@contextmanager
def _suppress_logs() -> Iterator[None]:
    """Suppress the traceback that torch logs before it tries an older format."""
    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
