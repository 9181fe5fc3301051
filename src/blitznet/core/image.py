"""Decode and resize images. All commands, training and engines read images through it.

EXIF orientation and ICC profiles are applied. Gray, CMYK, palette, 16-bit and float images become 8-bit sRGB;
transparent pixels are blended with white. A JPEG much larger than needed is decoded at a fraction of its size (draft
mode). Resizing is Pillow's antialiased bilinear interpolation and ignores the aspect ratio.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from blitznet.core.arrays import RGBArray, Size
from blitznet.core.color_profile import convert_to_srgb
from blitznet.core.errors import BlitzNetError, DataError
from blitznet.core.files import require_file
from blitznet.core.image_limits import MAX_TIFF_VALUES, excess, max_tiff_count

MAX_PIXELS = 89_478_485
"""pixels above which an image is not decoded: Pillow's limit for its decompression-bomb warning"""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
"""Pillow formats that are opened; MPO files of phones, JPEGs with a second image, open as JPEG"""
MASK_FORMATS = ("PNG", "BMP", "GIF", "TIFF")
"""Pillow formats of masks, which keep the values of pixels"""
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".jpe", ".mpo", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
"""endings of files of these formats"""
_VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".wmv")

_EXIF_ORIENTATION, _PHOTOMETRIC = 0x0112, 0x0106
"""numbers of tags; by the second, 0 is black or white in a gray TIFF"""
_FIRST_TRANSPOSED = 5
"""EXIF orientations from this one on swap width and height"""
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> the transposition that makes the image upright"""
_MAX_8_BIT, _MAX_16_BIT = 255, 65_535
_BAND_PIXELS = 1 << 20
"""pixels that are converted at once"""
_MIN_READS, _BYTES_PER_READ = 10_000, 512
"""a file in memory may be read in the first number of calls, and one more for each so many bytes"""
_IMAGE_AXES, _CHANNELS = 3, 3
"""axes of the array of an image, and its channels"""
_PIXEL_LIMIT = f"expected at most {MAX_PIXELS:,} pixels"
ImageLike = str | Path | bytes | bytearray | memoryview | RGBArray | Image.Image
LFS_POINTER = b"version https://git-lfs"
"""first bytes of a pointer of Git LFS, which stands for a file that was not downloaded"""
_START_BYTES = 512
"""bytes at the start of a file by which an error names its format"""
_KNOWN_START = rb"\xff\xd8|\x89PNG|GIF8|BM|II\*\0|MM\0\*|II\+\0|MM\0\+|RIFF....WEBP"
_VIDEO_HINT = "; `blitznet video` and blitznet.open_video read videos"
_START_HINTS = (
    (rb"....ftypavi[fs]", "; it is an AVIF image, save it as JPEG"),
    (rb"....ftyp(hei|hev|mif1|msf1)", "; it is a HEIC image, save it as JPEG"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "; it is a JPEG 2000 image, save it as JPEG"),
    (rb"\0\0\0\x0cJXL |\xff\x0a", "; it is a JPEG XL image, save it as JPEG"),
    (rb"....(ftyp|moov)|\x1aE\xdf\xa3|RIFF....AVI ", _VIDEO_HINT),
    (rb"%PDF", "; it is a PDF, save its pages as images"),
    (rb"\s*(<\?xml.*)?<svg", "; it is an SVG drawing, save it as PNG"),
    (rb"\s*<(!doctype )?html", "; it is a web page, download the image itself"),
)
"""pattern of the first bytes of a file -> what it is and what to do"""


_HINTS = {
    "NoneType": "; cv2.imread returns None for a file that it cannot read",
    "Tensor": "; convert it with .permute(1, 2, 0).numpy()",
    **dict.fromkeys(("list", "tuple", "generator"), "; predictor.batch and predictor.stream take several images"),
}
"""name of a type -> what to do instead of giving it as an image"""


@dataclass(frozen=True, eq=False)
class ImageSource:
    """An image that is decoded on demand.

    Args:
        source: Path of a file, bytes of a file, an array (H, W, 3) uint8 RGB, or a Pillow image.

    Raises:
        DataError: The source is of another kind, or has no pixels.
    """

    source: ImageLike

    def __post_init__(self) -> None:
        source: object = self.source
        if isinstance(source, np.ndarray | Image.Image):
            shape = source.shape if isinstance(source, np.ndarray) else source.size
            if 0 in shape:
                raise DataError(f"image: expected at least one pixel, got {'x'.join(map(str, shape))}; an empty crop?")
        elif not isinstance(source, str | PathLike | bytes | bytearray | memoryview) and not hasattr(source, "read"):
            raise DataError(
                f"image: expected a path, the bytes of a file, a Pillow image or an (H, W, 3) uint8 RGB array, "
                f"got {type(source).__name__}{_HINTS.get(type(source).__name__, '')}"
            )

    def __repr__(self) -> str:
        return f"ImageSource({self.name})"

    @property
    def name(self) -> str:
        """The file's path, or a placeholder for an image in memory."""
        return str(self.source) if isinstance(self.source, str | PathLike) else "<image in memory>"

    def size(self) -> Size:
        """(H, W) of the upright image. Only the header of a file is read, and only once.

        Raises:
            DataError: The image cannot be read.
        """
        return self._size

    @cached_property
    def _size(self) -> Size:
        with self._opened() as image:
            width, height = image.size
            transposed = is_transposed(image)
        return (width, height) if transposed else (height, width)

    def is_turned(self) -> bool:
        """Whether the EXIF orientation swaps width and height, so that the file stores them the other way round.

        Raises:
            DataError: The image cannot be read.
        """
        with self._opened() as image:
            return _orientation(image) >= _FIRST_TRANSPOSED

    def suffix(self) -> str:
        """The file name suffix of the image's format, such as `.png`; `.png` for an array.

        Raises:
            DataError: The image cannot be read.
        """
        with self._opened() as image:
            return {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif", None: ".png"}.get(
                image.format, f".{str(image.format).lower()}"
            )

    def read(self) -> RGBArray:
        """Decode the image at full size: (H, W, 3) uint8 RGB, upright.

        Raises:
            DataError: The image cannot be decoded.
        """
        return np.array(self.read_pil())

    def read_pil(self) -> Image.Image:
        """`read`, as a Pillow image that the caller may change: no copy to an array for callers that use Pillow."""
        with self._opened() as image:
            upright = _upright_rgb(image)
            upright.load()
            return upright.copy() if upright is self.source else upright

    def resize(
        self, size: Size, *, box: tuple[float, float, float, float] | None = None, full: bool = False
    ) -> RGBArray:
        """Decode the image, or a part of it, at another size.

        Args:
            size: (h, w) of the result, pixels.
            box: x1 y1 x2 y2 of the part, in pixels of the upright image and inside it. Default: all of it.
            full: Decode a JPEG at its full size first, which is slower. Tests compare draft mode with it.

        Returns:
            (h, w, 3) uint8 RGB.

        Raises:
            DataError: The image cannot be decoded.
        """
        return np.array(self.resize_pil(size, box=box, full=full))

    def resize_pil(
        self, size: Size, *, box: tuple[float, float, float, float] | None = None, full: bool = False
    ) -> Image.Image:
        """`resize`, as a Pillow image: no copy to an array for callers that continue with Pillow."""
        with self._opened() as image:
            is_draft = not full and image is not self.source  # draft() would change the caller's own image
            upright, original = decode_upright(image, size, box, draft=is_draft)
            return resize_part(upright, original, size, box)

    @contextmanager
    def _opened(self) -> Iterator[Image.Image]:
        """The Pillow image; that of a file is not decoded yet. Errors in the block become DataError."""
        source = self.source
        if isinstance(source, np.ndarray):
            _require_rgb(source)
            yield Image.fromarray(source)
            return
        with _translate_errors(self.name, source):
            if isinstance(source, Image.Image):
                yield source
                return
            with _open_file(source, FORMATS, self.name) as image:
                yield image


def _require_rgb(array: NDArray[Any]) -> None:
    """Raise DataError unless an array is (H, W, 3) uint8; the message has a conversion for usual arrays."""
    *_, channels = array.shape or (0,)
    if array.ndim != _IMAGE_AXES or channels != _CHANNELS:
        if array.ndim == _IMAGE_AXES - 1:
            hint = "; for a gray image use np.stack([image] * 3, -1)"
        elif array.ndim == _IMAGE_AXES + 1:
            hint = "; give several images as a list"
        elif array.ndim == _IMAGE_AXES and array.shape[0] == _CHANNELS:
            hint = "; put the channels last with image.transpose(1, 2, 0)"
        else:
            hint = "; leave the alpha channel out with image[..., :3]" if channels == _CHANNELS + 1 else ""
        raise DataError(f"image: expected an array (H, W, 3), got {array.shape}{hint}")
    if array.dtype != np.uint8:
        hint = "; for values from 0 to 1 use (image * 255).astype(np.uint8)" if array.dtype.kind == "f" else ""
        raise DataError(f"image: expected uint8 RGB, got {array.dtype}{hint}")


@contextmanager
def opened_mask(
    source: str | PathLike[str] | bytes, *, name: str, formats: tuple[str, ...] = MASK_FORMATS
) -> Iterator[Image.Image]:
    """Open a mask, not decoded yet; errors in the block become DataError.

    Args:
        source: Path or bytes of the file.
        name: File or object named in errors.
        formats: Pillow formats that are opened.

    Yields:
        The Pillow image with the file's own values: no orientation is applied, and no color is converted.

    Raises:
        DataError: The file is missing, broken, too large, or of another format.
    """
    with _translate_errors(name, source, kind="mask", formats=formats), _open_file(source, formats, name) as image:
        yield image


def _open_file(source: Any, formats: tuple[str, ...], name: str) -> Image.Image:
    """The Pillow image of a file, whose number of pixels is checked before they are decoded."""
    if isinstance(source, str | PathLike):
        require_file(source)
        with Path(source).open("rb") as opened:
            _require_small_directory(opened, name)
    file = source
    if isinstance(source, bytes | bytearray | memoryview):
        file = _BoundedFile(bytes(source))
        _require_small_directory(file, name)
    image = Image.open(file, formats=formats)
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise DataError(f"{name}: {_PIXEL_LIMIT}, got {image.width}x{image.height}; make it smaller")
    reason = excess(
        pixels=image.width * image.height,
        codec=image.tile[0][0] if getattr(image, "tile", None) else "",
        progressive=bool(image.info.get("progressive")),
        read=lambda: _read_whole(image),
    )
    if reason is not None:
        image.close()
        raise DataError(f"{name}: {reason}; save it again")
    return image


def _require_small_directory(file: BinaryIO, name: str) -> None:
    """Raise DataError for a TIFF whose directory Pillow could not hold; the file is at its start afterwards."""
    count = max_tiff_count(file)
    file.seek(0)
    if count > MAX_TIFF_VALUES:
        raise DataError(f"{name}: expected a TIFF of at most {MAX_TIFF_VALUES:,} strips, got {count:,}; save it again")


def _read_whole(image: ImageFile.ImageFile) -> bytes:
    """The bytes of an opened file, whose position stays."""
    file = image.fp
    assert file is not None, "the image is not loaded yet"
    position = file.tell()
    file.seek(0)
    content = file.read()
    file.seek(position)
    return content


Box = tuple[float, float, float, float]
"""x1 y1 x2 y2 in pixels of the upright image"""


def decode_upright(
    image: Image.Image, size: Size, box: Box | None, *, draft: bool
) -> tuple[Image.Image, tuple[int, int]]:
    """Decode an opened image upright.

    Args:
        image: The image as Pillow opened it.
        size: (h, w) of the part that is needed.
        box: The part; None for the whole image.
        draft: Whether to decode a JPEG at the smallest fraction of its size that has enough pixels for this.

    Returns:
        The RGB image, and the (W, H) of the upright image at its full size.
    """
    transposed = is_transposed(image)
    original = image.size[::-1] if transposed else image.size
    if draft:
        image.draft(None, draft_target(size, box, original, transposed=transposed))
    return _upright_rgb(image), original


def resize_part(upright: Image.Image, original: tuple[int, int], size: Size, box: Box | None) -> Image.Image:
    """Resize a part of a decoded image.

    Args:
        upright: RGB, at full size or at a fraction of it.
        original: (W, H) of the upright image at full size.
        size: (h, w) of the result.
        box: The part, in pixels of the image at full size; None for the whole image.
    """
    x1, y1, x2, y2 = box or (0.0, 0.0, float(original[0]), float(original[1]))
    sx, sy = upright.width / original[0], upright.height / original[1]
    part = (x1 * sx, y1 * sy, min(x2 * sx, upright.width), min(y2 * sy, upright.height))
    return upright.resize(size[::-1], Image.Resampling.BILINEAR, box=part)


def is_transposed(image: Image.Image) -> bool:
    """Whether the orientation of an opened image swaps its width and height."""
    if _orientation(image) < _FIRST_TRANSPOSED:
        return False
    # Pillow's size of a TIFF is that of the upright image already, unless the orientation is in XMP data.
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    return tags.get(_EXIF_ORIENTATION) not in range(_FIRST_TRANSPOSED, 9)


def draft_target(size: Size, box: Box | None, original: tuple[int, int], *, transposed: bool) -> tuple[int, int]:
    """(W, H) that a whole JPEG, as stored, needs for a part of `size` (h, w); as `decode_upright` passes to Pillow."""
    x1, y1, x2, y2 = box or (0.0, 0.0, float(original[0]), float(original[1]))
    target = (size[1] * original[0] / (x2 - x1), size[0] * original[1] / (y2 - y1))
    return int(target[transposed]), int(target[not transposed])


class _BoundedFile(BytesIO):
    """A file in memory that ends an endless header: Pillow reads each of its parts with a call in Python.

    Files in use need far fewer calls: a PNG has about 4 for each 8 KB.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._remaining = _MIN_READS + len(content) // _BYTES_PER_READ

    def read(self, size: int | None = -1, /) -> bytes:
        """Read bytes. Raises OSError after too many calls."""
        self._remaining -= 1
        if self._remaining < 0:
            raise OSError("expected a file in fewer parts")
        return super().read(size)


@contextmanager
def _translate_errors(
    name: str, source: object, *, kind: str = "image", formats: tuple[str, ...] = FORMATS
) -> Iterator[None]:
    """Raise Pillow's errors as DataErrors that name the image."""
    try:
        yield
    except BlitzNetError:
        raise
    except FileNotFoundError as error:
        file = "file" if kind == "image" else kind
        raise DataError(f"{name}: expected a {file}, got a path that does not exist{address_hint(name)}") from error
    except UnidentifiedImageError as error:
        start = _first_bytes(source)
        if start == b"":
            raise DataError(f"{name}: expected an image, got an empty file") from error
        if start is not None and start.startswith(LFS_POINTER):
            raise DataError(f"{name}: expected an image, got a pointer of Git LFS; run `git lfs pull`") from error
        if kind != "image":
            raise DataError(f"{name}: expected a {formats[0]} {kind}, got another file") from error
        if start is not None and re.match(_KNOWN_START, start, re.DOTALL):
            raise DataError(
                f"{name}: cannot be decoded; the file is broken, truncated or of an unusual type"
            ) from error
        hint = _start_hint(start or b"") or (_VIDEO_HINT if name.lower().endswith(_VIDEO_SUFFIXES) else "")
        raise DataError(f"{name}: not an image of a known format ({', '.join(formats)}){hint}") from error
    except _UnusualValuesError as error:
        raise DataError(f"{name}: {error}; save it with 8 or 16 bits") from error
    except IsADirectoryError as error:
        raise DataError(
            f"{name}: expected an image, got a folder; predictor.batch and predictor.stream predict its images"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{name}: {_PIXEL_LIMIT}, got more; make it smaller") from error
    except Exception as error:  # Pillow raises many kinds of errors for a broken file
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"{name}: cannot be read ({error.strerror})") from error
        reason = error if str(error) else type(error).__name__
        subject = "" if kind == "image" else f"{kind} "
        raise DataError(f"{name}: {subject}cannot be decoded ({reason}); the file is broken or truncated") from error


def address_hint(source: str) -> str:
    """What to do with an image at an address: images are files, and nothing is downloaded."""
    return "; download it first, an address is not opened" if re.match(r"(https?|s3|gs|ftp):/", source) else ""


def _first_bytes(source: object) -> bytes | None:
    """The first bytes of an image file; None if they cannot be read again."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source[:_START_BYTES])
    if not isinstance(source, str | PathLike) or not Path(source).is_file():
        return None
    with Path(source).open("rb") as file:
        return file.read(_START_BYTES)


def _start_hint(start: bytes) -> str:
    """What a file of another format is, and what to do; empty if its first bytes do not tell."""
    flags = re.DOTALL | re.IGNORECASE
    return next((hint for pattern, hint in _START_HINTS if re.match(pattern, start, flags)), "")


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 where the tag is missing or invalid."""
    try:
        # The base class's method: PngImageFile.getexif decodes the pixels, before their number is checked.
        value = Image.Image.getexif(image).get(_EXIF_ORIENTATION, 1)
    except Exception:  # Pillow raises many kinds of errors for broken EXIF data; the pixels are intact
        return 1
    return int(value) if value in range(1, 9) else 1


def _upright_rgb(image: Image.Image) -> Image.Image:
    """The image upright and as 8-bit RGB."""
    orientation = _orientation(image)
    image.load()  # Pillow turns a TIFF meanwhile
    # Not ImageOps.exif_transpose, which also writes the EXIF data again and fails if they are broken.
    upright = image if orientation == 1 or image.format == "TIFF" else image.transpose(_UPRIGHT[orientation])
    if upright.mode.startswith(("I", "F")):  # Pillow's modes of 16 and 32 bits
        upright = _to_8_bit(upright)
    upright = convert_to_srgb(upright)
    if upright.mode not in ("RGBA", "LA", "PA", "RGBa", "La") and "transparency" not in upright.info:
        return upright if upright.mode == "RGB" else upright.convert("RGB")
    result = Image.new("RGB", upright.size)
    for start, end in _bands(upright.width, upright.height):
        result.paste(_on_white(upright.crop((0, start, upright.width, end))), (0, start))
    return result


def _on_white(image: Image.Image) -> Image.Image:
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _bands(width: int, height: int) -> Iterator[tuple[int, int]]:
    """First and last row + 1 of each band that is converted at once: whole images would need several copies."""
    rows = max(1, _BAND_PIXELS // width)
    return ((start, min(start + rows, height)) for start in range(0, height, rows))


class _UnusualValuesError(Exception):
    """The values of a gray image are not those of 8 or 16 bits."""


def _to_8_bit(image: Image.Image) -> Image.Image:
    """An image of one channel with 16 or 32 bits as 8-bit gray, with its profile.

    White in a file of 32 bits is the lowest of 1 (for floats), 255 and 65,535 that no value exceeds.

    Raises:
        _UnusualValuesError: The values do not fit.
    """
    values = np.asarray(image)
    is_float = values.dtype.kind == "f"
    finite = values[np.isfinite(values)] if is_float else values
    lowest, highest = finite.min(initial=0), finite.max(initial=0)
    is_16_bit = image.mode.startswith("I;16") or (image.format == "PPM" and not is_float)
    whites = [_MAX_16_BIT] if is_16_bit else [*([1] if is_float else []), _MAX_8_BIT, _MAX_16_BIT]
    white = next((white for white in whites if highest <= white), None)
    if white is None or (lowest < 0 and not is_float):
        raise _UnusualValuesError(f"expected values from 0 to {_MAX_16_BIT}, got {lowest:.6g} to {highest:.6g}")
    levels = np.empty(values.shape, np.uint8)
    for start, end in _bands(image.width, image.height):
        band = values[start:end] * (_MAX_8_BIT / white)
        levels[start:end] = np.nan_to_num(band).clip(0, _MAX_8_BIT).round()
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0:  # white is 0, which Pillow ignores in these modes
        levels = _MAX_8_BIT - levels
    if isinstance(transparent := image.info.get("transparency"), int):
        levels[values == transparent] = _MAX_8_BIT
    gray = Image.fromarray(levels)
    gray.info = {"icc_profile": image.info.get("icc_profile")}
    return gray
