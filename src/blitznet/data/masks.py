"""Class maps from PNGs, polygons and run-length encodings (RLE), read on demand."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import IGNORE_INDEX, ClassMap, Floats
from blitznet.core.errors import DataError, MissingExtra
from blitznet.core.image import MAX_PIXELS, opened_mask
from blitznet.core.sample import MaskSource

BoxTuple = tuple[float, float, float, float]

_MAX_OUTSIDE = 4
"""distance by which a polygon may extend beyond its image, in image sizes; farther means a broken file"""
_MAX_RUNS = 1 << 20
_TABLE_SIZE = 256


class UnknownValueError(DataError):
    """A mask has a value that stands for no class."""


@dataclass(frozen=True, slots=True)
class IndexMask:
    """A PNG whose pixel values are class indices: palette or grayscale, never converted to colors."""

    path: str
    num_values: int
    """valid pixel values are 0 to num_values - 1, and 255"""
    offset: int = 0
    """added to pixel values: 1 if value 0 is the first class, because there is no background"""

    def read(self) -> ClassMap:
        """Read the class map (H, W) uint8.

        Raises:
            UnknownValueError: A pixel value stands for no class.
            DataError: The file is missing, broken, or has another mode than palette or grayscale.
        """
        values = _read_values(self.path)
        unknown = (values >= self.num_values) & (values != IGNORE_INDEX)
        if unknown.any():
            listed = ", ".join(map(str, np.unique(values[unknown])[:5]))
            raise UnknownValueError(
                f"{self.path}: expected mask values below {self.num_values}, or {IGNORE_INDEX} for ignored pixels, "
                f"got {listed}"
            )
        if not self.offset:
            return values
        return np.where(values == IGNORE_INDEX, np.uint8(IGNORE_INDEX), values + np.uint8(self.offset)).astype(np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class RemappedMask:
    """A mask whose values are mapped by a table of 256 entries."""

    mask: MaskSource
    table: NDArray[np.uint8]

    def read(self) -> ClassMap:
        """Read the mapped class map (H, W) uint8."""
        values = self.mask.read()
        mapped = bytearray(values.tobytes().translate(self.table.tobytes()))  # five times as fast as indexing
        return np.frombuffer(mapped, np.uint8).reshape(values.shape)


def mask_value(label: int) -> int:
    """The class-map value of a label: label + 1, or label + 2 from 254 on, because 255 is ignored."""
    return label + 1 if label + 1 < IGNORE_INDEX else label + 2


def remap_mask(mask: MaskSource, table: NDArray[np.uint8]) -> MaskSource:
    """Map a mask's values.

    Rasterized masks write mapped values directly, so their dataset may have more classes than a class map has values.

    Args:
        mask: The mask to map.
        table: (V,) new value of each value; 256 entries, or more if the dataset has more classes.
    """
    if isinstance(mask, RasterizedMask) and mask.table is None:
        return replace(mask, table=table)
    return RemappedMask(mask, table[:_TABLE_SIZE])


@dataclass(frozen=True, slots=True, eq=False)
class MaskObject:
    """One object of a rasterized mask: polygons, or run lengths, or neither (then only its box is known)."""

    value: int
    """the label's `mask_value`, or 255 for a crowd"""
    box: BoxTuple
    polygons: tuple[NDArray[np.float64], ...] = ()
    """each (2n,) x y x y ... in pixels"""
    runs: NDArray[np.int64] | None = None
    """run lengths in column-major order, background first (COCO's `counts`)"""


@dataclass(frozen=True, slots=True, eq=False)
class RasterizedMask:
    """A class map drawn from its objects in order; where two overlap, the later one wins (paper, section 4.1).

    The box of an object without an outline is ignored (255), below all other objects: its pixels are not background.
    """

    name: str
    """image named in errors"""
    size: tuple[int, int]
    """(H, W)"""
    objects: tuple[MaskObject, ...]
    table: NDArray[np.uint8] | None = None
    """(V,) value to write for each object value; None writes the values themselves"""

    def read(self) -> ClassMap:
        """Draw the class map (H, W) uint8.

        Raises:
            DataError: The image is too large, an outline is broken, or a class has no value in a class map.
        """
        self._require_few_pixels()
        height, width = self.size
        canvas = np.zeros(self.size, np.uint8, order="F")  # column-major, as COCO's run lengths
        for item in self.objects:
            if not item.polygons and item.runs is None:
                x1, y1, x2, y2 = np.clip(item.box, 0, [width, height, width, height])
                canvas[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = IGNORE_INDEX
        for item in self.objects:
            if item.runs is not None:
                pixels = decode_coco_rle(item.runs, self.size, name=self.name)
                np.copyto(canvas, self._mapped(item.value), where=pixels)
            elif item.polygons:
                region, pixels = rasterize_polygons(item.polygons, self.size, name=self.name)
                np.copyto(canvas[region], self._mapped(item.value), where=pixels)
        return canvas

    def find_object(self, box: Floats, value: int) -> int | None:
        """Number of the object with an outline that has this box (4,) and this value in the class map; None without."""
        for number, item in enumerate(self.objects):
            has_outline = bool(item.polygons) or item.runs is not None
            if (
                has_outline
                and np.array_equal(np.asarray(item.box, np.float32), box)
                and self._mapped(item.value) == value
            ):
                return number
        return None

    def visible_pixels(self, number: int) -> NDArray[np.bool_]:
        """(H, W) the pixels of one object that no later object covers.

        Raises:
            DataError: An outline is broken.
        """
        later = replace(self, objects=self.objects[number:], table=None)
        values = [1, *(2 for _ in later.objects[1:])]
        drawn = replace(later, objects=tuple(replace(o, value=v) for o, v in zip(later.objects, values, strict=True)))
        return np.asarray(drawn.read() == 1, np.bool_)

    def require_valid(self) -> None:
        """Raise DataError if the class map cannot be drawn: the checks of `read`, without drawing."""
        self._require_few_pixels()
        for item in self.objects:
            if item.runs is not None:
                require_run_lengths(item.runs, math.prod(self.size), name=self.name)
            elif item.polygons:
                _require_inside(np.concatenate(item.polygons), self.size, name=self.name)

    def outlined_values(self) -> set[int]:
        """The class-map values of the objects with an outline; without drawing, so covered objects count."""
        return {int(self._mapped(item.value)) for item in self.objects if item.polygons or item.runs is not None}

    def _require_few_pixels(self) -> None:
        height, width = self.size
        if height * width > MAX_PIXELS:
            raise DataError(
                f"{self.name}: expected at most {MAX_PIXELS:,} pixels, got {width}x{height}; make it smaller"
            )

    def _mapped(self, value: int) -> np.uint8:
        if self.table is not None:
            return np.uint8(self.table[value])
        if value > IGNORE_INDEX:
            raise DataError(f"{self.name}: expected at most 254 classes in a class map, got class number {value - 1}")
        return np.uint8(value)


Slice2D = tuple[slice, slice]
"""rows and columns of an array"""


def rasterize_polygons(
    polygons: Sequence[NDArray[np.floating]], size: tuple[int, int], *, name: str
) -> tuple[Slice2D, NDArray[np.bool_]]:
    """Rasterize the union of polygons by COCO's own rule.

    Only the columns of the polygons' extent are decoded. A canvas of their own extent would give other pixels, because
    the rule rounds coordinates to fifths of a pixel of the whole image.

    Args:
        polygons: Each (2n,) x y x y ... in pixels.
        size: (H, W) of the image.
        name: Image named in errors.

    Returns:
        The region of the image, and its pixels (bool) inside the polygons.

    Raises:
        DataError: A polygon lies far outside the image.
    """
    try:
        from faster_coco_eval.core import mask as coco
    except ImportError as error:
        raise MissingExtra("rasterizing polygons", "data") from error
    height, width = size
    points = np.concatenate(polygons).reshape(-1, 2)
    _require_inside(points, size, name=name)
    (x1, y1), (x2, y2) = np.floor(points.min(0)).astype(int) - 1, np.ceil(points.max(0)).astype(int) + 2
    x1, x2 = min(max(int(x1), 0), width - 1), min(max(int(x2), 1), width)
    y1, y2 = min(max(int(y1), 0), height - 1), min(max(int(y2), 1), height)
    values = [[float(value) for value in polygon] for polygon in polygons]
    encoded = coco.merge(coco.frPyObjects(values, height, width))
    runs = parse_compressed_rle(encoded["counts"].decode("ascii"))
    runs[0] -= x1 * height  # background before the region's columns, and after them if the last run is background
    if len(runs) % 2:
        runs[-1] -= (width - x2) * height
    return (slice(y1, y2), slice(x1, x2)), decode_coco_rle(runs, (height, x2 - x1), name=name)[y1:y2]


def _require_inside(points: NDArray[np.floating], size: tuple[int, int], *, name: str) -> None:
    if not (np.abs(points) <= (_MAX_OUTSIDE + 1) * max(size)).all():  # also refuses NaN
        raise DataError(
            f"{name}: expected polygons inside the image of {size[1]}x{size[0]}, got one far outside; fix or remove it"
        )


def decode_coco_rle(runs: NDArray[np.int64], size: tuple[int, int], *, name: str) -> NDArray[np.bool_]:
    """Decode run lengths in column-major order, background first, to a mask (H, W)."""
    height, width = size
    return expand_runs(runs, height * width, name=name).reshape(width, height).T


def require_run_lengths(runs: NDArray[np.int64], total: int, *, name: str) -> None:
    """Raise DataError if a length is negative, or their sum is not `total`."""
    # The largest is compared first: a sum of large numbers could overflow to the expected one.
    if (runs < 0).any() or runs.max(initial=0) > total or int(runs.sum()) != total:
        raise DataError(f"{name}: expected run lengths of {total:,} pixels in all, got another sum")


def expand_runs(runs: NDArray[np.int64], total: int, *, name: str) -> NDArray[np.bool_]:
    """The pixels (total,) of run lengths, background first.

    Raises:
        DataError: A length is negative, or their sum is not `total`.
    """
    require_run_lengths(runs, total, name=name)
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs)


def parse_compressed_rle(text: str) -> NDArray[np.int64]:
    """Parse run lengths from COCO's compressed RLE: 5 bits per character, differences from the third run on.

    This parser is in Python, not in a C library, so that a broken text is refused instead of read beyond its end.

    Raises:
        DataError: The text is broken or truncated.
    """
    runs: list[int] = []
    characters = iter([ord(character) for character in text])
    for first in characters:
        value, bits = 0, 0
        for character in itertools.chain([first], characters):
            code = character - 48
            if not 0 <= code < 64 or bits > 40 or len(runs) > _MAX_RUNS:
                raise DataError("expected COCO's compressed RLE, got a broken text")
            value |= (code & 31) << bits
            bits += 5
            if not code & 32:
                break
        else:
            raise DataError("expected COCO's compressed RLE, got a truncated text")
        if code & 16:
            value -= 1 << bits
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return np.asarray(runs, np.int64)


def _read_values(path: str) -> NDArray[np.uint8]:
    with opened_mask(path, name=path) as image:
        if image.mode not in ("P", "L", "1") and not image.mode.startswith("I"):
            raise DataError(
                f"{path}: expected a palette or grayscale mask of class indices, got mode {image.mode};"
                " save the mask as indices"
            )
        values = np.asarray(image)
    if values.dtype != np.bool_ and values.dtype != np.uint8 and (values.min() < 0 or values.max() > IGNORE_INDEX):
        raise UnknownValueError(f"{path}: expected mask values of 0 to {IGNORE_INDEX}, got up to {values.max()}")
    return values.astype(np.uint8)
