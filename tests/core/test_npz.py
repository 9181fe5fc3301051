"""Arrays of .npz files are read as numpy wrote them, and checked before they are read."""

import struct
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np
import pytest

from blitznet.core.npz import NPZ_ERRORS, read_npz

LIMIT = 1 << 20


def npy(shape: str, data: bytes = b"", *, kind: str = "<f4") -> bytes:
    """An array whose header states any shape."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + data


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_those_that_were_written(save: object, tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    arrays = {"a": values, "f": np.asfortranarray(values[0]), "i": np.ones((2, 2), np.int64), "s": np.asarray(2.5)}
    save(tmp_path / "a.npz", **arrays)  # type: ignore[operator]  # both have one signature
    read = read_npz(tmp_path / "a.npz", limit=LIMIT)
    assert read.keys() == arrays.keys()
    for name, expected in arrays.items():
        np.testing.assert_array_equal(read[name], expected)
        assert read[name].dtype == expected.dtype


@pytest.mark.parametrize(
    "content",
    [
        npy(f"({2**50},)"),
        npy("(3,)", b"12345678"),
        npy("(2,)", b"\x80\x04N.", kind="|O"),
        npy("(-1,)", b"1234"),
        npy("__import__('os').getcwd()"),
        b"\x93NUMPY\x09\x00" + bytes(99),
        b"hello",
        b"",
    ],
)
def test_arrays_are_checked_before_they_are_read(content: bytes, tmp_path: Path) -> None:
    with ZipFile(tmp_path / "a.npz", "w", ZIP_STORED) as file:
        file.writestr("a.npy", content)
    with pytest.raises(NPZ_ERRORS):
        read_npz(tmp_path / "a.npz", limit=LIMIT)


def test_compressed_arrays_are_limited_by_their_size(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "a.npz", "w", ZIP_DEFLATED) as file:
        file.writestr("a.npy", npy("(1000000,)", bytes(4_000_000)))
    with pytest.raises(ValueError, match="expected at most 1,048,576 bytes of arrays"):
        read_npz(tmp_path / "a.npz", limit=LIMIT)
