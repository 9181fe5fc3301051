"""Limits of image files that are small to send and take long to decode, or much memory.

- A progressive JPEG may have any number of scans, each of a few bytes, and each is decoded over all pixels: one of
  150 kB takes a minute.
- Pillow decodes numbers in text (plain PPM) and run lengths (BMP) in Python, and each comment copies a megabyte.
- Pillow makes objects of all numbers in a TIFF's directory: a file of 20 MB takes gigabytes.
"""

import struct
from collections.abc import Callable
from typing import BinaryIO

MAX_SCANS = 100
"""scans of a JPEG; encoders write about ten"""
_MAX_MARKERS = 10_000
"""segments of a JPEG"""
_MAX_PLAIN_PIXELS, _MAX_COMMENTS = 2_000_000, 1_000
"""pixels and comments of a plain PPM"""
_MAX_RLE_PIXELS = 16_000_000
"""pixels of a BMP with run lengths"""
MAX_TIFF_VALUES = 200_000
"""numbers of one entry of a TIFF's directory, such as the places of its strips"""

_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_NO_MARKERS = frozenset((0x00, *range(0xD0, 0xD8), 0xFF))
"""bytes after 0xFF inside of a scan: data, restarts and fill bytes"""
_BIG_TIFF = 43
"""version of TIFF files with numbers of 64 bits"""
_BYTE_TYPES = (1, 2, 7)
"""types of entries that stay bytes: bytes, text, undefined"""
_MAX_ENTRIES = 1_000_000


def excess(*, pixels: int, codec: str, progressive: bool, read: Callable[[], bytes]) -> str | None:
    """What an opened file has too much of, for an error; None if it can be decoded.

    Args:
        pixels: Number of pixels.
        codec: Pillow's name of the decoder.
        progressive: Whether it is a progressive JPEG.
        read: Reads the whole file.
    """
    if progressive and has_too_many_scans(read()):
        return f"expected a JPEG of at most {MAX_SCANS} scans, got more"
    if codec == "bmp_rle" and pixels > _MAX_RLE_PIXELS:
        return f"expected a BMP with run lengths of at most {_MAX_RLE_PIXELS:,} pixels, got {pixels:,}"
    if codec != "ppm_plain":
        return None
    if pixels > _MAX_PLAIN_PIXELS:
        return f"expected a PPM in text of at most {_MAX_PLAIN_PIXELS:,} pixels, got {pixels:,}"
    comments = read().count(b"#")
    return f"expected at most {_MAX_COMMENTS:,} comments, got {comments:,}" if comments > _MAX_COMMENTS else None


def has_too_many_scans(content: bytes) -> bool:
    """Whether a JPEG has more scans or segments than any encoder writes; what follows its end is not counted."""
    scans = markers = position = 0
    while scans <= MAX_SCANS and markers <= _MAX_MARKERS:
        position = content.find(b"\xff", position) + 1
        if position == 0 or position >= len(content):
            return False
        marker = content[position]
        if marker in _NO_MARKERS:
            continue
        if marker == _END:
            return False
        position += 1 if marker == _START else 1 + int.from_bytes(content[position + 1 : position + 3], "big")
        markers += 1
        scans += marker == _SCAN
    return True


def max_tiff_count(file: BinaryIO) -> int:
    """Largest number of numbers in an entry of a TIFF's first directory; 0 for another or a broken file."""
    start = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    if order is None or len(start) < len("II*\0") + 4:
        return 0
    is_big = _BIG_TIFF in start[2:4]
    position, count, entry = (order + code for code in (("8xQ", "Q", "HHQ8x") if is_big else ("4xI", "H", "HHI4x")))
    if len(start) < struct.calcsize(position):
        return 0
    file.seek(min(struct.unpack_from(position, start)[0], 1 << 62))
    header = file.read(struct.calcsize(count))
    if len(header) < struct.calcsize(count):
        return 0
    size = struct.calcsize(entry)
    entries = file.read(min(struct.unpack(count, header)[0], _MAX_ENTRIES) * size)
    numbers = struct.iter_unpack(entry, entries[: len(entries) // size * size])
    return max((count for _, kind, count in numbers if kind not in _BYTE_TYPES), default=0)
