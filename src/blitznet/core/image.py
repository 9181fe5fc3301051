"""The one way from a image to pixels: every command, trainer and engine reads images here.

Decided for good: EXIF orientation is applied; grey, CMYK, palette and 16-bit become 8-bit RGB; alpha is
laid on white; a JPEG much larger than wanted is decoded at a fraction of its size (draft mode); pixels
are resized by antialiased bilinear interpolation (Pillow's), aspect ratio ignored.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from blitznet.core.arrays import RGBArray, require_shape
from blitznet.core.errors import DataError

MAX_PIXELS = 89_478_485
"""larger images are refused before they are decoded: the size from which Pillow warns of a decompression bomb"""
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
"""those of Pillow's that are opened; a phone's MPO, a JPEG with more behind it, comes as JPEG"""
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm")

_ORIENTATION, _ORIENTATIONS, _TURNED = 0x0112, range(1, 9), 5
_TOO_MANY = f"more than {MAX_PIXELS:,}; make it smaller"
ImageLike = str | Path | bytes | RGBArray | Pillow.Image


@dataclass(frozen=True, eq=False)
class ImageSource:
    """A image that is decoded when pixels are asked for: a file or its bytes, an RGB array (H, W, 3), a Pillow one."""

    source: ImageLike

    @property
    def name(self) -> str:
        """The file's path, or what the image is instead."""
        return str(self.source) if isinstance(self.source, (str, Path)) else "<image in memory>"

    def size(self) -> tuple[int, int]:
        """(H, W) of the upright image; of a file only the header is read."""
        return self._size

    @cached_property
    def _size(self) -> tuple[int, int]:
        """Read once: a sample's image is asked for it by boxes, mask and augmentation."""
        with self._opened() as image:
            width, height = image.size
            turned = _orientation(image) >= _TURNED
        return (width, height) if turned else (height, width)

    def read(self) -> RGBArray:
        """(H, W, 3) uint8 RGB, upright, at its full size."""
        with self._opened() as image:
            return np.array(_upright_rgb(image))

    def resize(
        self, size: tuple[int, int], *, box: tuple[float, float, float, float] | None = None, full: bool = False
    ) -> RGBArray:
        """(h, w, 3) uint8: the image, or the part of it inside `box`, brought to `size` (h, w).

        `box` is x1 y1 x2 y2 in pixels of the upright image and lies inside it. `full` decodes a JPEG
        at its full size first: the slow way, to compare with.
        """
        return np.array(self.resize_pil(size, box=box, full=full))

    def resize_pil(
        self, size: tuple[int, int], *, box: tuple[float, float, float, float] | None = None, full: bool = False
    ) -> Pillow.Image:
        """The same as a Pillow image, for who goes on in Pillow: turning pixels into an array takes 0.1 ms."""
        height, width = size
        with self._opened() as image:
            turned = _orientation(image) >= _TURNED
            original = image.size[::-1] if turned else image.size  # (W, H) upright
            x1, y1, x2, y2 = box or (0.0, 0.0, float(original[0]), float(original[1]))
            if not full and image is not self.source:  # a caller's own image would stay shrunken
                expected = (width * original[0] / (x2 - x1), height * original[1] / (y2 - y1))
                image.draft(None, (int(expected[turned]), int(expected[not turned])))
            upright = _upright_rgb(image)
            sx, sy = upright.width / original[0], upright.height / original[1]
            part = (x1 * sx, y1 * sy, min(x2 * sx, upright.width), min(y2 * sy, upright.height))
            return upright.resize((width, height), Pillow.Resampling.BILINEAR, box=part)

    @contextmanager
    def _opened(self) -> Iterator[Pillow.Image]:
        """The Pillow image, a file's undecoded; whatever goes wrong while it is read is told as a DataError."""
        source = self.source
        if isinstance(source, np.ndarray):
            require_shape(source, (None, None, 3), name="image")
            if source.dtype != np.uint8:
                raise DataError(f"image: expected uint8 RGB, got {source.dtype}")
            yield Pillow.fromarray(source)
            return
        with _translate_errors(self.name):
            if isinstance(source, Pillow.Image):
                yield source
                return
            with Pillow.open(BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise DataError(f"{self.name}: {image.width}x{image.height} pixels are {_TOO_MANY}")
                yield image


@contextmanager
def _translate_errors(name: str) -> Iterator[None]:
    """Pillow's errors as DataErrors that name the image."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{name}: there is no such file") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{name}: not an image of a known format ({', '.join(FORMATS)})") from error
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as error:
        raise DataError(f"{name}: its pixels are {_TOO_MANY}") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{name}: cannot be decoded ({error}); the file is broken or cut off") from error


def _orientation(image: Pillow.Image) -> int:
    """1..8, as EXIF counts; 1 where it says something else. Of a file the header tells it.

    Pillow's own way with a PNG would decode all of it first, before anyone has asked how large it is.
    """
    told = Pillow.Image.getexif(image).get(_ORIENTATION, 1)
    return told if told in _ORIENTATIONS else 1


def _upright_rgb(image: Pillow.Image) -> Pillow.Image:
    upright = image if _orientation(image) == 1 else ImageOps.exif_transpose(image)  # which would copy it
    if upright.mode == "RGB":
        return upright
    if upright.mode.startswith(("I", "F")):  # 16 bits and more, in Pillow's several ways to hold them
        values = np.asarray(upright)
        deep = upright.mode.startswith("I;16") or values.max(initial=0) > 255
        return Pillow.fromarray((values / (257 if deep else 1)).clip(0, 255).round().astype(np.uint8)).convert("RGB")
    if upright.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in upright.info:
        rgba = upright.convert("RGBA")
        white = Pillow.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Pillow.alpha_composite(white, rgba).convert("RGB")
    return upright.convert("RGB")
