"""A row of the table of bad files, and small files that rows share."""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image


@dataclass(frozen=True, slots=True)
class BadFile:
    """A command that meets a bad file, and what it must answer."""

    id: str
    """kind of file and what is wrong with it"""
    command: str
    """words after `blitznet`"""
    files: Mapping[str, bytes | str]
    """content of the files by their path in the working folder"""
    line: str
    """part of the only line on stderr after `blitznet: error: `"""
    code: int = 2
    """exit code"""

    def write(self) -> None:
        """Write the files into the working folder."""
        for name, content in self.files.items():
            path = Path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The bytes of an image file."""
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png(width: int = 12, height: int = 8, *, color: int | tuple[int, ...] = 90, mode: str = "RGB") -> bytes:
    """A PNG of one color."""
    return encode(
        Image.new(mode, (width, height), color if mode != "RGB" or isinstance(color, tuple) else (color,) * 3)
    )


def noise(kind: str = "PNG", *, size: tuple[int, int] = (64, 48)) -> bytes:
    """An image file of noise."""
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return encode(Image.fromarray(values), kind)


def with_scans(jpeg: bytes, count: int) -> bytes:
    """A progressive JPEG with its last scan so many times more."""
    end = jpeg.rindex(b"\xff\xd9")
    return jpeg[:end] + jpeg[jpeg.rindex(b"\xff\xda") : end] * count + jpeg[end:]


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG with its checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(
    width: int, height: int, *, depth: int = 8, color: int = 0, pixels: bytes = b"", extra: bytes = b""
) -> bytes:
    """A PNG whose header states any size, with any compressed pixels."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


def zeros(count: int) -> bytes:
    """`count` zero bytes, compressed by zlib: a thousandth of their size."""
    return zlib.compress(bytes(count), 9)


PNG = png()
"""an RGB image of 12 x 8 pixels"""
MASK = png(mode="L", color=1)
"""a mask of the same size whose pixels are the first class"""
DEEP_LIST = "[" * 100_000
DEEP_OBJECT = '{"a":' * 100_000
"""JSON that is nested without end"""
HUGE = "9" * 5_000
"""a number with more digits than Python converts"""
LONG = "x" * 100_000
"""a name longer than any file system allows"""
