"""The boxes of an MP4 file."""

from contextlib import suppress
from io import SEEK_END
from pathlib import Path

_MAX_BOXES = 10_000
"""number of top-level boxes in which the index is searched"""


def is_mp4_without_index(path: str) -> bool:
    """Whether a local file starts as MP4 and ends before its index, as after a crash of the recorder."""
    with suppress(OSError, ValueError), Path(path).open("rb") as file:
        end = file.seek(0, SEEK_END)
        position = 0
        for _ in range(_MAX_BOXES):
            file.seek(position)
            header = file.read(16)
            size, kind = int.from_bytes(header[:4]), header[4:8]
            if position == 0 and kind != b"ftyp":
                return False
            size = int.from_bytes(header[8:]) if size == 1 else size
            position += size
            if kind == b"moov":
                return position > end
            if size < 8 or position >= end:
                return True
    return False
