"""Images that cannot be predicted."""

import struct
import zlib
from collections.abc import Iterator

from PIL import Image

from support.hostile.case import PNG, BadFile, encode, noise, png_chunk, png_of, with_scans, zeros

_JPEG, _GIF, _WEBP, _BMP, _TIFF, _PPM = (noise(kind) for kind in ("JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM"))
_BROKEN = "cannot be decoded"
_UNKNOWN = "not an image of a known format"
_LARGE = "expected at most 89,478,485 pixels, got"


def _ihdr(content: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", content)


def _bmp(width: int, height: int, *, bits: int = 24, compression: int = 0, colors: int = 0) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, colors, 0)
    return struct.pack("<2sIHHI", b"BM", 54 + 12, 0, 0, 54) + header + bytes(12)


def _tiff(*entries: tuple[int, int, int, int], tail: bytes = b"") -> bytes:
    """A TIFF with these entries of its directory: tag, type, count, value."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + struct.pack("<I", 0) + tail


def _webp(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunk = b"VP8X" + struct.pack("<I", 10) + bytes(4) + size
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def _gif(width: int, height: int, *, body: bytes = b";") -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + body


def _jpeg_of(width: int, height: int) -> bytes:
    """A JPEG whose header states another size."""
    start = _JPEG.index(b"\xff\xc0") + 5
    return _JPEG[:start] + struct.pack(">HH", height, width) + _JPEG[start + 4 :]


def _animated() -> bytes:
    frames = [Image.new("L", (64, 48), value) for value in (0, 90, 180)]
    return encode(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=False)


_EMPTY_PIXELS = zlib.compress(b"")
_TIFF_HEAD = ((256, 4, 1, 64), (257, 4, 1, 48), (258, 3, 1, 8))
_CONTENTS: tuple[tuple[str, str, bytes, str], ...] = (
    ("empty", "a.png", b"", "expected an image, got an empty file"),
    ("one byte", "a.png", b"\x89", _UNKNOWN),
    ("zeros", "a.jpg", bytes(4096), _UNKNOWN),
    ("text", "a.jpg", b"hello\n", _UNKNOWN),
    ("html", "a.jpg", b"<!doctype html><title>404</title>", _UNKNOWN),
    ("svg", "a.png", b'<svg xmlns="http://www.w3.org/2000/svg"/>', _UNKNOWN),
    ("pdf", "a.jpg", b"%PDF-1.7\n", _UNKNOWN),
    ("eps, which runs a program", "a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", _UNKNOWN),
    ("ico", "a.png", encode(Image.new("RGB", (16, 16)), "ICO"), _UNKNOWN),
    ("pickle", "a.png", b"\x80\x04cos\nsystem\n(S'true'\ntR.", _UNKNOWN),
    ("zip", "a.png", b"PK\x03\x04" + bytes(60), _UNKNOWN),
    ("git lfs pointer", "a.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "run `git lfs pull`"),
    ("png signature only", "a.png", b"\x89PNG\r\n\x1a\n", _BROKEN),
    ("png header cut", "a.png", PNG[:20], _BROKEN),
    ("png pixels cut", "a.png", noise()[:2_000], _BROKEN),
    ("png checksum of the header", "a.png", PNG[:29] + b"\0\0\0\0" + PNG[33:], _BROKEN),
    ("png header too short", "a.png", _ihdr(b"\0\0\0\1"), "a.png: "),
    ("png of 0 pixels", "a.png", png_of(0, 8), "a.png: "),
    ("png of unknown depth", "a.png", png_of(8, 8, depth=3), "a.png: "),
    ("png of unknown color type", "a.png", png_of(8, 8, color=7), "a.png: "),
    ("png without pixels", "a.png", png_of(8, 8, pixels=_EMPTY_PIXELS), _BROKEN),
    ("png of other bytes as pixels", "a.png", png_of(8, 8, pixels=b"not zlib"), _BROKEN),
    ("png of 2^31 x 2^31", "a.png", png_of(2**31 - 1, 2**31 - 1, pixels=zeros(9_000)), _LARGE),
    ("png of 100 megapixels", "a.png", png_of(10_000, 10_000, pixels=zeros(9_000)), _LARGE),
    ("png one row too large", "a.png", png_of(9_459, 9_460, pixels=zeros(9_000)), _LARGE),
    ("png text bomb", "a.png", png_of(8, 8, extra=png_chunk(b"zTXt", b"k\0\0" + zeros(9 << 20))), "a.png: "),
    ("png profile bomb", "a.png", png_of(8, 8, extra=png_chunk(b"iCCP", b"k\0\0" + zeros(9 << 20))), "a.png: "),
    ("png chunk longer than the file", "a.png", PNG[:33] + struct.pack(">I", 2**31 - 1) + b"IDAT", _BROKEN),
    ("animated png cut", "a.png", _animated()[:90], "a.png: "),
    ("jpeg cut", "a.jpg", _JPEG[: len(_JPEG) // 2], _BROKEN),
    ("jpeg of two bytes", "a.jpg", b"\xff\xd8", _BROKEN),
    ("jpeg marker only", "a.jpg", b"\xff\xd8\xff\xe0", _BROKEN),
    ("jpeg of 65,500 x 65,500", "a.jpg", _jpeg_of(65_500, 65_500), _LARGE),
    ("jpeg of 0 x 0", "a.jpg", _jpeg_of(0, 0), "a.jpg: "),
    ("jpeg without tables", "a.jpg", b"\xff\xd8" + _JPEG[_JPEG.index(b"\xff\xc0") :], _BROKEN),
    ("gif cut", "a.gif", _GIF[:100], _BROKEN),
    ("gif without a frame", "a.gif", _gif(64, 48), "a.gif: "),
    ("gif of 65,535 x 65,535", "a.gif", _gif(65_535, 65_535, body=_GIF[13:]), "a.gif: "),
    (
        "jpeg of 2,000 scans",
        "a.jpg",
        with_scans(encode(Image.new("L", (6_000, 6_000)), "JPEG", progressive=True), 2_000),
        "expected a JPEG of at most 100 scans, got more; save it again",
    ),
    ("bmp cut", "a.bmp", _BMP[:2_000], _BROKEN),
    ("bmp of 2^31 pixels width", "a.bmp", _bmp(2**31 - 1, 2**31 - 1), _LARGE),
    ("bmp of 5 bits", "a.bmp", _bmp(8, 8, bits=5), "a.bmp: "),
    ("bmp of unknown compression", "a.bmp", _bmp(8, 8, compression=99), "a.bmp: "),
    ("bmp of 4 billion colors", "a.bmp", _bmp(8, 8, bits=8, colors=2**32 - 1), "a.bmp: "),
    ("tiff without entries", "a.tif", _tiff(), "a.tif: "),
    ("tiff of 2^32 x 2^32", "a.tif", _tiff((256, 4, 1, 2**32 - 1), (257, 4, 1, 2**32 - 1)), "a.tif: "),
    ("tiff without strips", "a.tif", _tiff(*_TIFF_HEAD, (259, 3, 1, 1), (262, 3, 1, 1)), "a.tif: "),
    ("tiff whose strip is outside", "a.tif", _tiff(*_TIFF_HEAD, (262, 3, 1, 1), (273, 4, 1, 10**9)), "a.tif: "),
    ("tiff of unknown compression", "a.tif", _tiff(*_TIFF_HEAD, (259, 3, 1, 999), (273, 4, 1, 8)), "a.tif: "),
    ("tiff cut", "a.tif", _TIFF[:200], "a.tif: "),
    ("tiff of 60,000 samples", "a.tif", _tiff(*_TIFF_HEAD, (262, 3, 1, 1), (277, 3, 1, 60_000)), "a.tif: "),
    ("tiff of 4 million strips", "a.tif", _tiff(*_TIFF_HEAD, (273, 4, 4_000_000, 8)), "at most 200,000 strips, got"),
    ("bmp of 5,000 rows of run lengths", "a.bmp", _bmp(5_000, 5_000, bits=8, compression=1), "with run lengths of at"),
    ("ppm of 500,000 comments", "a.ppm", b"P1\n9 9\n" + b"#\n" * 500_000, "at most 1,000 comments, got 500,000"),
    ("webp cut", "a.webp", _WEBP[:60], "a.webp: "),
    ("webp of 16,777,216 x 16,777,216", "a.webp", _webp(1 << 24, 1 << 24), "a.webp: "),
    ("ppm of any length", "a.ppm", b"P6\n" + b"#" * 200_000, "a.ppm: "),
    ("ppm without pixels", "a.ppm", b"P6\n64 48\n255\n", _BROKEN),
    ("ppm of 10^9 x 10^9", "a.ppm", b"P6\n999999999 999999999\n255\n", _LARGE),
    ("ppm of negative size", "a.ppm", b"P6\n-5 5\n255\n", "a.ppm: "),
    ("ppm of letters", "a.ppm", b"P3\n2 2\n255\na b c d", _BROKEN),
    ("ppm cut", "a.ppm", _PPM[:500], _BROKEN),
    ("wrong suffix, cut", "a.png", _JPEG[:200], "a.png: "),
)


def image_cases() -> Iterator[BadFile]:
    """Each file as the only image of `predict`; its other outputs are written, so the exit code is 1."""
    for name, file, content, line in _CONTENTS:
        yield BadFile(f"image: {name}", f"predict {file} --model small.onnx", {file: content}, line, code=1)
    for name, source, line in (
        ("missing", "no.png", "no.png: "),
        ("empty folder", "empty", "empty: "),
        ("glob without a match", "no*.png", "no*.png: "),
        ("another suffix", "a.txt", "a.txt: "),
        ("name of a null device", "/dev/null", "/dev/null: "),
        ("endless device", "/dev/zero", "/dev/zero: "),
    ):
        files = {"empty/x.txt": "", "a.txt": "text"}
        code = 1 if source == "a.txt" else 2
        yield BadFile(f"image source: {name}", f"predict {source} --model small.onnx", files, line, code)
