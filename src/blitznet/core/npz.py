"""Read .npz files: no pickle, and no array is larger than the file has bytes for it."""

import struct
import zlib
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from blitznet.core.files import require_file

NPZ_ERRORS = (OSError, ValueError, EOFError, NotImplementedError, RuntimeError, struct.error, zlib.error, BadZipFile)
"""what `read_npz` raises for a file that is missing or broken"""
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npz(path: Path, *, limit: int) -> dict[str, NDArray[Any]]:
    """The arrays of a file by name.

    Args:
        path: The file, as `np.savez` or `np.savez_compressed` writes it.
        limit: Maximum number of bytes of all arrays together, checked before they are read.

    Raises:
        ValueError: An array is of Python objects, is too large, or has another length than its header states.
        OSError: The file cannot be read.
        BadZipFile: The file is no zip, or a broken one. `NPZ_ERRORS` lists all errors.
    """
    require_file(path)
    with ZipFile(path) as file:
        if sum(part.file_size for part in file.infolist()) > limit:
            raise ValueError(f"expected at most {limit:,} bytes of arrays, got more")
        return {name.removesuffix(".npy"): _read_array(file, name) for name in file.namelist()}


def _read_array(file: ZipFile, name: str) -> NDArray[Any]:
    with file.open(name) as part:
        content = BytesIO(part.read(file.getinfo(name).file_size + 1))
    version = npy.read_magic(content)
    if version not in _HEADERS:
        raise ValueError(f"{name}: expected an array of format 1.0 or 2.0")
    shape, is_fortran, dtype = _HEADERS[version](content)
    count = prod(shape)
    values = content.getbuffer()[content.tell() :]
    if dtype.hasobject or len(values) != count * dtype.itemsize:
        raise ValueError(f"{name}: expected numbers of the shape in its header, got {len(values):,} bytes")
    return np.frombuffer(values, dtype, count).reshape(shape, order="F" if is_fortran else "C")
