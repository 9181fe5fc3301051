"""Bodies that are small to send and expensive to read, unless the reader has limits."""

import base64
import gzip
import json
import struct
import zlib
from functools import cache

_SIZE = 19_900_000
"""bytes of a large body: just within the server's default limit"""


def _chunk(kind: bytes, data: bytes = b"") -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, pixels: bytes, *, before: bytes = b"", color: int = 0) -> bytes:
    """A PNG file with 8 bits per channel; `pixels` is compressed, `before` stands before it."""
    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + before + _chunk(b"IDAT", pixels) + _chunk(b"IEND")


def plain_png(side: int) -> bytes:
    """A gray square image; it is about a thousandth of its pixels."""
    return _png(side, side, zlib.compress((b"\0" + b"\x5a" * side) * side, 1))


@cache
def image_headers() -> list[bytes]:
    """Images whose headers are long: empty chunks in PNG, comments and application segments in JPEG."""
    pixels = zlib.compress(b"\0" + b"\x5a" * 64)
    return [
        _png(64, 1, pixels, before=_chunk(b"prVt") * (_SIZE // 12)),
        b"\xff\xd8" + b"\xff\xfe\x00\x02" * (_SIZE // 4),
        b"\xff\xd8" + b"\xff\xe5\x00\x02" * (_SIZE // 4),
        b"P6\n#" + b"x" * _SIZE,
    ]


@cache
def decompression() -> list[bytes]:
    """Images that decompress to much more than their size, or more than they declare."""
    zeros = zlib.compress(bytes(500_000_000), 9)
    text = _chunk(b"zTXt", b"Comment\0\0" + zeros)
    return [
        _png(30_000, 30_000, zeros),
        _png(64, 64, zeros),
        _png(64, 64, zlib.compress(bytes(64 * 65)), before=text * 30),
        plain_png(7_000),
    ]


@cache
def gzip_bomb() -> bytes:
    """A body of `Content-Encoding: gzip` that decompresses to 2 GB."""
    return gzip.compress(bytes(100_000_000), 9) * 20


@cache
def json_bodies() -> list[bytes]:
    """JSON of 20 MB, each expensive in another way: numbers, containers, texts, names, nesting, escapes."""
    numbers = b'{"inputs": [{"name": "image", "datatype": "UINT8", "shape": [3000000, 1, 3], "data": ['
    units = [b"1,", b"[],", b'{"a":[]},', b'"",', b"null,", b"1e9,"]
    bodies = [numbers + unit * (_SIZE // len(unit)) + b"1]}]}" for unit in units]
    names = b",".join(b'"%d":0' % number for number in range(1_500_000))
    nested = b"[" * (_SIZE // 2) + b"]" * (_SIZE // 2)
    escapes = b'{"images": ["' + b"\\n" * (_SIZE // 2) + b'"]}'
    digits = b'{"inputs": ' + b"9" * _SIZE + b"}"
    return [*bodies, b"{" + names + b"}", nested, escapes, digits]


def kserve_body(image: bytes, *outputs: str) -> bytes:
    """A request of the inference protocol with an image file; all outputs if none is named."""
    tensor = {"name": "image_bytes", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(image).decode()]}
    return json.dumps({"inputs": [tensor], "outputs": [{"name": name} for name in outputs]}).encode()


def batch_body(image: bytes, count: int) -> bytes:
    """A batch request of equal images."""
    return json.dumps({"images": [base64.b64encode(image).decode()] * count}).encode()
