"""Class maps from PNGs, polygons and run lengths, read when they are wanted."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from blitznet.core.arrays import IGNORE_INDEX, ClassMap, Floats
from blitznet.core.errors import DataError, MissingExtra
from blitznet.core.image import MAX_PIXELS
from blitznet.core.sample import MaskSource

Box = tuple[float, float, float, float]

_FAR = 4
"""a polygon may leave its image by this many times the image's size; farther is a broken file"""
_MAX_RUNS = 1 << 20
_VALUES = 256


class UnknownValueError(DataError):
    """A mask has a value that names no class."""


@dataclass(frozen=True, slots=True)
class IndexMask:
    """A PNG whose pixel values are classes: palette or grey, never converted to colours."""

    path: str
    known: int
    """how many values name something, counted from 0"""
    shift: int = 0
    """1 where value 0 names the first class, since there is no background"""

    def read(self) -> ClassMap:
        """(H, W) uint8; refuses other modes and values that name no class."""
        values = _read_values(self.path)
        unknown = (values >= self.known) & (values != IGNORE_INDEX)
        if unknown.any():
            found = ", ".join(map(str, np.unique(values[unknown])[:5]))
            raise UnknownValueError(
                f"{self.path}: expected mask values below {self.known} or {IGNORE_INDEX} for void, got {found}"
            )
        if not self.shift:
            return values
        return np.where(values == IGNORE_INDEX, np.uint8(IGNORE_INDEX), values + np.uint8(self.shift)).astype(np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class RemappedMask:
    """Another mask with its values exchanged: a look-up table of 256 entries."""

    inner: MaskSource
    table: NDArray[np.uint8]

    def read(self) -> ClassMap:
        """(H, W) uint8."""
        values = self.inner.read()
        changed = bytearray(values.tobytes().translate(self.table.tobytes()))  # a fifth of indexing's time
        return np.frombuffer(changed, np.uint8).reshape(values.shape)


def mask_value(label: int) -> int:
    """What stands for a label: label + 1, and one more from 255 on, which is void."""
    return label + 1 if label + 1 < IGNORE_INDEX else label + 2


def remapped(mask: MaskSource, table: NDArray[np.uint8]) -> MaskSource:
    """A mask with its values exchanged: a table (V,) of 256 entries, or more where there are more names.

    Outlines are painted in the new values at once, so that their names may be more than a class map has values for.
    """
    if isinstance(mask, RasterizedMask) and mask.table is None:
        return replace(mask, table=table)
    return RemappedMask(mask, table[:_VALUES])


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """One object's pixels: polygons, or run lengths, or neither (then only its box is known)."""

    value: int
    """what is painted: the label's `mask_value`, or 255 for a crowd"""
    box: Box
    polygons: tuple[Floats, ...] = ()
    """each (2n,) x y x y, pixels"""
    runs: NDArray[np.int64] | None = None
    """lengths down the columns, background first, as COCO counts them"""


@dataclass(frozen=True, slots=True, eq=False)
class RasterizedMask:
    """A class map painted from its objects in their order: where two overlap, the later wins (paper 4.1).

    An object without an outline has its box made void, under all others: its pixels are no background.
    """

    name: str
    size: tuple[int, int]
    shapes: tuple[Shape, ...]
    table: NDArray[np.uint8] | None = None
    """(V,) what is painted in place of each value; None: the values themselves"""

    def read(self) -> ClassMap:
        """(H, W) uint8. Raises DataError for an outline that cannot be filled, and for a class that has no value."""
        height, width = self.size
        if height * width > MAX_PIXELS:
            raise DataError(f"{self.name}: {width}x{height} pixels are more than {MAX_PIXELS:,}; make it smaller")
        canvas = np.zeros(self.size, np.uint8, order="F")  # columns lie together, as in COCO's run lengths
        for shape in self.shapes:
            if not shape.polygons and shape.runs is None:
                x1, y1, x2, y2 = np.clip(shape.box, 0, [width, height, width, height])
                canvas[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = IGNORE_INDEX
        for shape in self.shapes:
            if shape.runs is not None:
                filled = decode_runs(shape.runs, self.size, name=self.name)
                np.copyto(canvas, self._painted(shape.value), where=filled)
            elif shape.polygons:
                part, filled = rasterize_polygons(shape.polygons, self.size, name=self.name)
                np.copyto(canvas[part], self._painted(shape.value), where=filled)
        return canvas

    def _painted(self, value: int) -> np.uint8:
        if self.table is not None:
            return np.uint8(self.table[value])
        if value > IGNORE_INDEX:
            raise DataError(
                f"{self.name}: class number {value - 1} has no value in a class map, which holds 254 classes"
            )
        return np.uint8(value)


Part = tuple[slice, slice]
"""rows and columns of a canvas"""


def rasterize_polygons(
    polygons: Sequence[Floats], size: tuple[int, int], *, name: str
) -> tuple[Part, NDArray[np.bool_]]:
    """The union of polygons (each x y x y ... in pixels), by COCO's own rule: the part of the canvas, its pixels.

    Outlines that stay inside the image are filled on a canvas of their own size, which gives the same pixels in
    a fraction of the time; others on the whole, for the rule depends on where the canvas ends.
    """
    try:
        from faster_coco_eval.core import mask as coco
    except ImportError as error:
        raise MissingExtra("painting polygons", "data") from error
    height, width = size
    points = np.concatenate(polygons).reshape(-1, 2)
    if not (np.abs(points) <= (_FAR + 1) * max(size)).all():  # also refuses NaN
        raise DataError(f"{name}: a polygon lies far outside of its image of {width}x{height}; fix or remove it")
    (x1, y1), (x2, y2) = np.floor(points.min(0)).astype(int) - 1, np.ceil(points.max(0)).astype(int) + 2
    if x1 < 0 or y1 < 0 or x2 > width or y2 > height:
        x1, y1, x2, y2 = 0, 0, width, height
    moved = [(polygon.reshape(-1, 2).astype(np.float64) - (x1, y1)).ravel().tolist() for polygon in polygons]
    encoded = coco.frPyObjects(moved, int(y2 - y1), int(x2 - x1))
    filled = np.asarray(coco.decode(coco.merge(encoded)))
    return (slice(y1, y2), slice(x1, x2)), cast("NDArray[np.bool_]", filled.astype(np.bool_, copy=False))


def decode_runs(runs: NDArray[np.int64], size: tuple[int, int], *, name: str) -> NDArray[np.bool_]:
    """(H, W) bool from run lengths down the columns, background first."""
    height, width = size
    if (runs < 0).any() or int(runs.sum()) != height * width:
        raise DataError(f"{name}: run lengths add up to {int(runs.sum()):,}, expected {height} x {width} pixels")
    flags = np.arange(len(runs)) % 2 == 1
    return np.repeat(flags, runs).reshape(width, height).T


def unpack_runs(text: str) -> NDArray[np.int64]:
    """Run lengths from COCO's compressed text: 5 bits a letter, from the third on differences.

    Written here, not taken from a C library, so that a broken text is refused and not run off its end.
    """
    runs: list[int] = []
    letters = iter([ord(letter) for letter in text])
    for first in letters:
        value, bits = 0, 0
        for letter in itertools.chain([first], letters):
            code = letter - 48
            if not 0 <= code < 64 or bits > 40 or len(runs) > _MAX_RUNS:
                raise DataError("its compressed run lengths are broken")
            value |= (code & 31) << bits
            bits += 5
            if not code & 32:
                break
        else:
            raise DataError("its compressed run lengths are cut off")
        if code & 16:
            value -= 1 << bits
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return np.asarray(runs, np.int64)


def _read_values(path: str) -> NDArray[np.uint8]:
    try:
        with Pillow.open(path, formats=("PNG", "BMP", "GIF", "TIFF")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{path}: {image.width}x{image.height} pixels are more than {MAX_PIXELS:,}")
            if image.mode not in ("P", "L", "1") and not image.mode.startswith("I"):
                raise DataError(
                    f"{path}: expected a palette or grey mask whose values are classes, got mode {image.mode};"
                    " save the mask as indices"
                )
            values = np.asarray(image)
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such mask") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: not a PNG mask") from error
    except (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as error:
        raise DataError(f"{path}: mask cannot be decoded ({error}); the file is broken or cut off") from error
    if values.dtype != np.bool_ and values.dtype != np.uint8 and (values.min() < 0 or values.max() > IGNORE_INDEX):
        raise UnknownValueError(f"{path}: expected mask values of 0 to {IGNORE_INDEX}, got up to {values.max()}")
    return values.astype(np.uint8)
