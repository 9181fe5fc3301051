"""ProgramEngine: a network that was written as a torch program (.pt2), without the code that built it."""

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

SUFFIX = ".pt2"
FINISHED = "finished"
"""the entry, beside the contract's, that says whether the post-processing is inside: `True` or `False`"""


class ProgramEngine:
    """Runs a program of `torch.export`, on the CPU."""

    name = "torch"

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        """Open the file; `threads` of computing for the whole process, as many as torch takes if not given.

        Raises ModelError if the file is missing, broken, of another maker or of another version.
        """
        self.path = Path(path)
        if threads is not None and threads < 1:
            raise UsageError(f"threads: expected 1 or more, got {threads}")
        text, finished = _entries(self.path)
        self.spec: Spec = read_spec(text, source=str(self.path))
        self._names = nms_output_names(self.spec) if finished else output_names(self.spec)
        if threads is not None:
            torch.set_num_threads(threads)
        self._program = _load(self.path)

    def run(self, images: NDArray[np.uint8]) -> Outputs | NmsOutputs:
        """Answers to images (B, h, w, 3) uint8 RGB of the contract's size."""
        with torch.inference_mode():
            given = self._program(torch.from_numpy(np.ascontiguousarray(images)))
        arrays = (tensor.cpu().numpy() for tensor in given)
        return outputs_from(dict(zip(self._names, arrays, strict=True)), source=str(self.path))


def _entries(path: Path) -> tuple[str | None, bool]:
    """The contract's text and whether the file is finished; looked up before torch reads anything."""
    if not path.is_file():
        raise ModelError(f"{path}: there is no such model file")
    try:
        with ZipFile(path) as file:
            texts = {
                name.rpartition("/extra/")[2]: file.read(name).decode() for name in file.namelist() if "/extra/" in name
            }
    except (OSError, BadZipFile, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: cannot be read as a torch program ({error})") from error
    return texts.get(METADATA_KEY), texts.get(FINISHED) == str(True)


def _load(path: Path) -> torch.nn.Module:
    try:
        with _quiet():
            program: torch.nn.Module = torch.export.load(path).module()
    except Exception as error:  # whatever a file of another version of torch may bring up
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{path}: torch {torch.__version__} cannot open the program ({reason}); export it again"
        ) from error
    return program


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the traceback that torch logs before it tries an older format."""
    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
