"""ProgramEngine: runs a network exported as a torch program (.pt2), without the code that built it."""

import json
import logging
import pickle
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from blitznet.core.errors import ModelError, UsageError, shown
from blitznet.core.model_content import MAX_SPEC_BYTES, ZIP_ERRORS, join_outputs, require_stored_parts
from blitznet.core.outputs import NmsOutputs, Outputs
from blitznet.core.spec import METADATA_KEY, Spec, read_spec
from blitznet.nets.deploy import output_names
from blitznet.nets.postprocess import nms_output_names

PROGRAM_SUFFIX = ".pt2"
"""of a torch program"""
NMS_KEY = "nms"
"""metadata entry, `True` or `False`: whether post-processing is inside the file"""
_V1_NMS_KEY = "finished"
_MAX_REASON = 200
"""characters of torch's own message in an error"""
_PARTS = re.compile(
    r"[^/]+/(archive_format|archive_version|byteorder|\.data/\w+|extra/\w+|models/model\.json|data/sample_inputs/model\.pt|"
    r"data/weights/(weight_\d+|model_weights_config\.json)|data/constants/(tensor_\d+|model_constants_config\.json))"
)
"""names of the parts that `export` writes; torch unpickles others, or opens them as libraries"""
_EXPRESSION = re.compile(r"([A-Z]\w*|[a-z]+=True|'\w+'|\d+|[-+*/(), ])*")
"""a size that depends on the batch; sympy evaluates it as Python, so it has no attributes, texts and other functions"""


class ProgramEngine:
    """Runs a program of `torch.export`, on the CPU."""

    name = "torch"

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        """Open a file. torch may run code that a prepared file contains: open only files that you trust.

        Args:
            path: The file, `.pt2`.
            threads: Threads of torch for the whole process. Default: torch's own choice.

        Raises:
            ModelError: The file is missing, broken, not a blitznet model or of another version, or contains code.
            UsageError: `threads` is less than 1.
        """
        self.path = Path(path)
        if threads is not None and threads < 1:
            raise UsageError(f"threads: expected 1 or more, got {threads}")
        self.spec, nms = read_program_spec(self.path)
        self._names = nms_output_names(self.spec) if nms else output_names(self.spec)
        if threads is not None:
            torch.set_num_threads(threads)
        _require_no_code(self.path)
        self._program = _load(self.path)

    def run(self, images: NDArray[np.uint8]) -> Outputs | NmsOutputs:
        """Outputs for images (B, h, w, 3) uint8 RGB of the spec's size."""
        try:
            with torch.inference_mode():
                tensors = self._program(torch.from_numpy(np.ascontiguousarray(images)))
            arrays = [tensor.cpu().numpy() for tensor in tensors]
            outputs = dict(zip(self._names, arrays, strict=True))
        except Exception as error:  # whatever torch raises for a program of another input or with other outputs
            raise ModelError(
                f"{self.path}: torch cannot run the program ({_reason(error)}); export it again"
            ) from error
        return join_outputs(self.spec, [outputs], batch=len(images), source=str(self.path))


def read_program_spec(path: Path) -> tuple[Spec, bool]:
    """The spec in a `.pt2` file, and whether post-processing is inside; nothing of the file is run.

    Raises:
        ModelError: The file is missing, broken or not a blitznet model.
    """
    if not path.is_file():
        raise ModelError(f"{path}: expected a model file, got no file")
    try:
        with ZipFile(path) as file:
            require_stored_parts(file)
            parts = [part for part in file.infolist() if "/extra/" in part.filename]
            if any(part.file_size > MAX_SPEC_BYTES for part in parts):
                raise BadZipFile("its metadata is too long")
            texts = {part.filename.rpartition("/extra/")[2]: file.read(part).decode() for part in parts}
    except ZIP_ERRORS as error:
        raise ModelError(f"{path}: cannot be read as a torch program ({error})") from error
    nms = texts.get(NMS_KEY, texts.get(_V1_NMS_KEY)) == str(True)
    return read_spec(texts.get(METADATA_KEY), source=str(path)), nms


def _require_no_code(path: Path) -> None:
    """Refuse the known parts of a program that torch runs as code; `export` writes none of them."""
    try:
        with ZipFile(path) as file:
            for part in file.infolist():
                name = part.filename
                if not _PARTS.fullmatch(name):
                    raise ModelError(f"{path}: expected the parts of a program that `export` writes, got {shown(name)}")
                if name.endswith(".json") and _runs_code(json.loads(file.read(part))):
                    raise ModelError(f"{path}: expected a program without code, got one with code in {name}")
                if name.endswith(".pt"):
                    _require_tensors(file.read(part))
    except ZIP_ERRORS as error:
        raise ModelError(f"{path}: cannot be read as a torch program ({error})") from error
    except pickle.UnpicklingError as error:
        raise ModelError(f"{path}: expected a program without code, got one with a pickle of other objects") from error


def _require_tensors(content: bytes) -> None:
    """Raise UnpicklingError unless a part contains only tensors and plain values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickles of other programs, which are refused
        try:
            torch.load(BytesIO(content), weights_only=True)
        except Exception as error:  # whatever torch raises for other content
            raise pickle.UnpicklingError("not only tensors") from error


def _runs_code(content: Any) -> bool:
    """Whether JSON of a program has a pickle, or guards or sizes that are Python."""
    if isinstance(content, dict):
        return (
            content.get("use_pickle") not in (None, False)
            or bool(content.get("guards_code"))
            or not _EXPRESSION.fullmatch(str(content.get("expr_str", "")))
            or any(map(_runs_code, content.values()))
        )
    return isinstance(content, list) and any(map(_runs_code, content))


def _load(path: Path) -> torch.nn.Module:
    try:
        with _suppress_logs():
            program: torch.nn.Module = torch.export.load(path).module()
    except Exception as error:  # whatever torch raises for a file of another version
        raise ModelError(
            f"{path}: torch {torch.__version__} cannot open the program ({_reason(error)}); export it again"
        ) from error
    return program


def _reason(error: Exception) -> str:
    """The beginning of torch's own message."""
    return " ".join(str(error).split())[:_MAX_REASON]


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
