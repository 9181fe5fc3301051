"""Windows: which part of a image the network is shown, drawn before a pixel is decoded.

Zoom-out, crop, flip and resize are one axis-aligned warp, so they are one window: a rectangle in pixels
of the upright image, which may reach outside of it, and whether it is mirrored.
"""

import math
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import Boxes, ClassMap, Flags, Floats
from blitznet.core.boxes import area, intersection, iou

TRIES = 50
"""crops drawn for one threshold before it is given up; SSD's and the release's number"""
JACCARD = (0.1, 0.3, 0.5, 0.7, 0.9, 0.0)
"""SSD's thresholds; the last one takes any crop"""
COVERAGE = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
"""the release's thresholds (reference 5, step 4)"""

Sides: TypeAlias = NDArray[np.float64]
"""(N,) widths or heights, fractions of a canvas"""

_ROUNDING = 1e-6
"""of a pixel: what rounding may have taken from a window that ends at the image's edge"""


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle in pixels of the upright image, which becomes the network's image."""

    x1: float
    y1: float
    x2: float
    y2: float
    flipped: bool = False

    @property
    def width(self) -> float:
        """Pixels of the image."""
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        """Pixels of the image."""
        return self.y2 - self.y1

    def flip(self) -> "Window":
        """The same part, mirrored left to right."""
        return replace(self, flipped=not self.flipped)

    def part(self, box: Floats) -> "Window":
        """The part inside `box` (4,), x1 y1 x2 y2 as fractions of this window as it lies in the image."""
        x1, y1, x2, y2 = (float(side) for side in box)
        return replace(
            self,
            x1=self.x1 + x1 * self.width,
            y1=self.y1 + y1 * self.height,
            x2=self.x1 + x2 * self.width,
            y2=self.y1 + y2 * self.height,
        )

    def place(self, boxes: Boxes) -> Boxes:
        """Boxes (M, 4) of the image, pixels, as fractions of the window; not clipped."""
        origin = np.array([self.x1, self.y1] * 2)
        placed = (boxes - origin) / np.array([self.width, self.height] * 2)
        if self.flipped:
            placed[:, [0, 2]] = 1 - placed[:, [2, 0]]
        return np.asarray(placed, np.float32)


def whole(size: tuple[int, int]) -> Window:
    """The image of `size` (H, W), nothing more and nothing less."""
    return Window(0.0, 0.0, float(size[1]), float(size[0]))


def zoomed_out(size: tuple[int, int], ratio: float, rng: np.random.Generator) -> Window:
    """A window `ratio` times the image of `size` (H, W), the image anywhere inside it."""
    height, width = size
    left, top = rng.random(2) * (ratio - 1)
    return Window(-left * width, -top * height, (ratio - left) * width, (ratio - top) * height)


def jaccard_crop(canvas: Window, boxes: Boxes, rng: np.random.Generator, *, smallest: float = 0.3) -> Window:
    """SSD's crop (SSD 2.2): the canvas as it is, or a part whose IoU with some box reaches a threshold.

    boxes (M, 4) are pixels of the image; with none of them the canvas counts as the object. `smallest` is the
    part's least side as a fraction of the canvas' (geometric mean of width and height). One of seven
    choices, of those that can be met, with equal chance; so the canvas stays in one case of seven or more.
    """
    placed = _targets(canvas, boxes)
    for choice in rng.permutation(len(JACCARD) + 1):
        if choice == len(JACCARD):
            return canvas
        crops = _any_crops(rng, smallest)
        good = np.flatnonzero((iou(crops, placed) >= JACCARD[choice]).any(1))
        if len(good):
            return canvas.part(crops[good[0]])
    raise AssertionError("one of the choices is the canvas itself")


def coverage_crop(canvas: Window, boxes: Boxes, rng: np.random.Generator, *, smallest: float = 0.3) -> Window:
    """The release's crop: some box has a drawn share of its own area inside; the canvas if no try succeeds.

    boxes (M, 4) are pixels of the image; with none of them the canvas counts as the object. `smallest` is the
    part's least area as a fraction of the canvas'. Source: reference 5, step 4.
    """
    placed = _targets(canvas, boxes)
    share = rng.choice(COVERAGE)
    crops, valid = _tall_and_wide_crops(canvas, rng, smallest)
    covered = intersection(crops, placed) >= share * area(placed)
    good = np.flatnonzero(covered.any(1) & valid)
    return canvas.part(crops[good[0]]) if len(good) else canvas


def carry(window: Window, boxes: Boxes, crowd: Flags, *, least: tuple[float, float]) -> tuple[Boxes, NDArray[np.intp]]:
    """Boxes (M, 4) of the image, pixels, as the window shows them: (N, 4) fractions inside 0..1, and which stayed.

    An object stays if its centre is inside (SSD 2.2), a crowd region if any of it is. What is smaller
    than `least` (height, width) after clipping is dropped, crowds too: they'd cover no anchor.
    """
    placed = window.place(boxes)
    centre = (placed[:, :2] + placed[:, 2:]) / 2
    seen = ((centre >= 0) & (centre <= 1)).all(1) | crowd
    clipped = placed.clip(0, 1)
    sides = clipped[:, 2:] - clipped[:, :2]
    kept = np.flatnonzero(seen & (sides[:, 0] >= least[1]) & (sides[:, 1] >= least[0]))
    return clipped[kept], kept


def look_up(class_map: ClassMap, window: Window, size: tuple[int, int], *, outside: int) -> ClassMap:
    """The class map (H, W) as the window shows it at `size` (h, w): each cell takes the pixel under its centre.

    Cells beyond the image become `outside`.
    """
    rows = _under_centres(window.y1, window.y2, size[0])
    columns = _under_centres(window.x1, window.x2, size[1])
    if window.flipped:
        columns = columns[::-1]
    good_rows = (rows >= 0) & (rows < class_map.shape[0])
    good_columns = (columns >= 0) & (columns < class_map.shape[1])
    shown = np.full(size, outside, np.uint8)
    shown[np.ix_(good_rows, good_columns)] = class_map[np.ix_(rows[good_rows], columns[good_columns])]
    return shown


def covered(low: float, high: float, length: int, count: int) -> tuple[int, int, float, float]:
    """Along one axis: the first and the last + 1 of `count` pixels that lie wholly on the image, and their span in it.

    low, high: the window's sides, pixels of the image; length: the image's. Only whole pixels, so that what is
    resized is exactly what is pasted and boxes stay where they are drawn.
    """
    step = (high - low) / count
    first = max(0, math.ceil(-low / step - _ROUNDING))
    last = min(count, math.floor((length - low) / step + _ROUNDING))
    return first, last, max(0.0, low + first * step), min(float(length), low + last * step)


def _under_centres(low: float, high: float, count: int) -> NDArray[np.int64]:
    return np.asarray(np.floor(low + (np.arange(count) + 0.5) * (high - low) / count), np.int64)


def _targets(canvas: Window, boxes: Boxes) -> Boxes:
    """(M, 4) fractions of the canvas that a crop is judged by; at least one."""
    return canvas.place(boxes) if len(boxes) else np.array([[0, 0, 1, 1]], np.float32)


def _at_random_place(width: Sides, height: Sides, rng: np.random.Generator) -> Boxes:
    """Boxes (N, 4) of these sides, fractions of a canvas, anywhere inside it."""
    x, y = rng.random((2, len(width))) * (1 - np.stack([width, height]))
    return np.stack([x, y, x + width, y + height], 1).astype(np.float32)


def _any_crops(rng: np.random.Generator, smallest: float) -> Boxes:
    """(TRIES, 4) fractions: scale and aspect as SSD draws them, the aspect relative to the canvas'."""
    scale = rng.uniform(smallest, 1, TRIES)
    aspect = rng.uniform(np.maximum(0.5, scale**2), np.minimum(2, scale**-2))
    return _at_random_place(scale * aspect**0.5, scale / aspect**0.5, rng)


def _tall_and_wide_crops(canvas: Window, rng: np.random.Generator, smallest: float) -> tuple[Boxes, Flags]:
    """(TRIES, 4) fractions and (TRIES,) whether large enough: the aspect in pixels, the height uniform."""
    aspect = rng.uniform(0.5, 2, TRIES)
    relative = aspect * canvas.height / canvas.width  # the aspect in fractions of the canvas
    tallest = np.minimum(relative**-0.5, np.minimum(1, 1 / relative))
    height = rng.uniform(np.minimum((smallest / relative) ** 0.5, tallest), tallest)
    width = height * relative
    return _at_random_place(width, height, rng), width * height >= smallest - 1e-6
