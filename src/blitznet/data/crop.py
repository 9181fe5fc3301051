"""Crop windows: the visible part of a training image, drawn before any pixel is decoded.

Zoom-out, crop, flip and resize are one axis-aligned warp and therefore one window: a rectangle in pixels of the upright
image, which may extend beyond the image, and whether it is flipped.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import Boxes, ClassMap, Flags, Floats
from blitznet.core.boxes import area, intersection, iou

TRIES = 50
"""random crops that are tried per threshold; as in SSD and in the original implementation"""
IOU_THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.0)
"""SSD's thresholds; the last one accepts any crop"""
COVERAGE_THRESHOLDS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
"""thresholds of the original implementation"""

Region = tuple[int, int, int, int]
"""x1 y1 x2 y2 of a part of a canvas, whole pixels"""

_ROUNDING = 1e-6
"""pixels; rounding error of a window that ends at the image's edge"""


@dataclass(frozen=True, slots=True)
class CropWindow:
    """A rectangle in pixels of the upright image, which is resized to the network's input."""

    x1: float
    y1: float
    x2: float
    y2: float
    flipped: bool = False

    @property
    def width(self) -> float:
        """Width in pixels of the image."""
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        """Height in pixels of the image."""
        return self.y2 - self.y1

    def flip(self) -> "CropWindow":
        """The same window, flipped horizontally."""
        return replace(self, flipped=not self.flipped)

    def crop(self, box: Floats) -> "CropWindow":
        """The part inside `box` (4,), x1 y1 x2 y2 as fractions of this window before flipping."""
        x1, y1, x2, y2 = (float(coordinate) for coordinate in box)
        return replace(
            self,
            x1=self.x1 + x1 * self.width,
            y1=self.y1 + y1 * self.height,
            x2=self.x1 + x2 * self.width,
            y2=self.y1 + y2 * self.height,
        )

    def embed(self, region: Region, size: tuple[int, int]) -> "CropWindow":
        """The window of a whole canvas in whose `region` this window is.

        Args:
            region: x1 y1 x2 y2 in pixels of the canvas.
            size: (h, w) of the canvas.
        """
        left, top, right, bottom = region
        step_x, step_y = self.width / (right - left), self.height / (bottom - top)  # pixels of the image per pixel
        x1 = self.x1 - step_x * (size[1] - right if self.flipped else left)
        y1 = self.y1 - step_y * top
        return replace(self, x1=x1, y1=y1, x2=x1 + step_x * size[1], y2=y1 + step_y * size[0])

    def normalize_boxes(self, boxes: Boxes) -> Boxes:
        """Convert boxes (M, 4) from pixels of the image to fractions of the window; not clipped."""
        origin = np.array([self.x1, self.y1] * 2)
        fractions = (boxes - origin) / np.array([self.width, self.height] * 2)
        if self.flipped:
            fractions[:, [0, 2]] = 1 - fractions[:, [2, 0]]
        return np.asarray(fractions, np.float32)


def full_window(size: tuple[int, int]) -> CropWindow:
    """The window that is exactly the image of `size` (H, W)."""
    return CropWindow(0.0, 0.0, float(size[1]), float(size[0]))


def zoom_out(size: tuple[int, int], ratio: float, rng: np.random.Generator) -> CropWindow:
    """A window `ratio` times the size (H, W) of the image, with the image at a random position inside."""
    height, width = size
    left, top = rng.random(2) * (ratio - 1)
    return CropWindow(-left * width, -top * height, (ratio - left) * width, (ratio - top) * height)


def scale_jitter(size: tuple[int, int], scale: float, rng: np.random.Generator) -> CropWindow:
    """A window in which the image of `size` (H, W) has `scale` times the window's side lengths.

    The image is at a random position inside a larger window, or the window at one inside a larger image.
    Source: Ghiasi et al., Simple copy-paste, 2021 (large-scale jitter).

    Args:
        size: (H, W) of the image.
        scale: Side lengths of the image, as multiples of the window's.
        rng: Source of randomness.
    """
    height, width = size[0] / scale, size[1] / scale
    x, y = rng.random(2)
    left, top = x * (size[1] - width), y * (size[0] - height)
    return CropWindow(left, top, left + width, top + height)


def iou_crop(canvas: CropWindow, boxes: Boxes, rng: np.random.Generator, *, min_scale: float = 0.3) -> CropWindow:
    """Crop as in SSD (section 2.2): no crop, or a crop whose IoU with some box reaches a threshold.

    The seven choices (no crop and six thresholds) are tried in random order until one succeeds, so the canvas stays
    uncropped in at least one of seven cases.

    Args:
        canvas: The window to crop.
        boxes: (M, 4) in pixels of the image; without boxes the whole canvas is the object.
        rng: Source of randomness.
        min_scale: Smallest crop: geometric mean of width and height, as a fraction of the canvas.
    """
    targets = _target_boxes(canvas, boxes)
    for choice in rng.permutation(len(IOU_THRESHOLDS) + 1):
        if choice == len(IOU_THRESHOLDS):
            return canvas
        crops = _ssd_crops(rng, min_scale)
        valid = np.flatnonzero((iou(crops, targets) >= IOU_THRESHOLDS[choice]).any(1))
        if len(valid):
            return canvas.crop(crops[valid[0]])
    raise AssertionError("one of the choices is the canvas itself")


def coverage_crop(canvas: CropWindow, boxes: Boxes, rng: np.random.Generator, *, min_area: float = 0.3) -> CropWindow:
    """Crop as in the original implementation: the crop covers a random fraction of some box.

    The canvas stays uncropped if no try succeeds.

    Args:
        canvas: The window to crop.
        boxes: (M, 4) in pixels of the image; without boxes the whole canvas is the object.
        rng: Source of randomness.
        min_area: Smallest area of a crop, as a fraction of the canvas.
    """
    targets = _target_boxes(canvas, boxes)
    threshold = rng.choice(COVERAGE_THRESHOLDS)
    crops, large_enough = _blitznet_crops(canvas, rng, min_area)
    covers = intersection(crops, targets) >= threshold * area(targets)
    valid = np.flatnonzero(covers.any(1) & large_enough)
    return canvas.crop(crops[valid[0]]) if len(valid) else canvas


def transform_boxes(
    window: CropWindow, boxes: Boxes, crowd: Flags, *, min_size: tuple[float, float]
) -> tuple[Boxes, NDArray[np.intp]]:
    """Transform boxes to fractions of a window, and drop those outside.

    An object is kept if its center is inside (SSD, section 2.2), a crowd region if any part of it is.

    Args:
        window: The crop window.
        boxes: (M, 4) in pixels of the image.
        crowd: (M,) crowd regions.
        min_size: (height, width) as fractions of the window; smaller boxes, crowds too, are dropped after clipping.

    Returns:
        Kept boxes (N, 4) as fractions of the window, clipped to 0..1, and their indices (N,).
    """
    fractions = window.normalize_boxes(boxes)
    centers = (fractions[:, :2] + fractions[:, 2:]) / 2
    inside = ((centers >= 0) & (centers <= 1)).all(1) | crowd
    clipped = fractions.clip(0, 1)
    sizes = clipped[:, 2:] - clipped[:, :2]
    indices = np.flatnonzero(inside & (sizes[:, 0] >= min_size[1]) & (sizes[:, 1] >= min_size[0]))
    return clipped[indices], indices


def resample_class_map(class_map: ClassMap, window: CropWindow, size: tuple[int, int], *, fill: int) -> ClassMap:
    """Crop and resize a class map; each cell of the result takes the pixel under its center.

    Args:
        class_map: (H, W) of the image.
        window: The crop window.
        size: (h, w) of the result.
        fill: Value of cells outside the image.
    """
    rows = _source_indices(window.y1, window.y2, size[0])
    columns = _source_indices(window.x1, window.x2, size[1])
    if window.flipped:
        columns = columns[::-1]
    valid_rows = (rows >= 0) & (rows < class_map.shape[0])
    valid_columns = (columns >= 0) & (columns < class_map.shape[1])
    resampled = np.full(size, fill, np.uint8)
    resampled[np.ix_(valid_rows, valid_columns)] = class_map[np.ix_(rows[valid_rows], columns[valid_columns])]
    return resampled


def visible_span(low: float, high: float, length: int, count: int) -> tuple[int, int, float, float]:
    """The output pixels along one axis that lie entirely on the image, and their span in the image.

    Only entire pixels are used, so that the resized part is exactly the pasted part and boxes stay aligned with it.

    Args:
        low: Start of the window in pixels of the image.
        high: End of the window in pixels of the image.
        length: Length of the image in pixels.
        count: Number of output pixels.

    Returns:
        The first output pixel, the last one + 1, and the start and end of their span in pixels of the image.
    """
    step = (high - low) / count
    first = max(0, math.ceil(-low / step - _ROUNDING))
    last = min(count, math.floor((length - low) / step + _ROUNDING))
    return first, last, max(0.0, low + first * step), min(float(length), low + last * step)


def _source_indices(low: float, high: float, count: int) -> NDArray[np.int64]:
    """Index of the image pixel under the center of each of `count` cells."""
    return np.asarray(np.floor(low + (np.arange(count) + 0.5) * (high - low) / count), np.int64)


def _target_boxes(canvas: CropWindow, boxes: Boxes) -> Boxes:
    """(M, 4) boxes as fractions of the canvas; the whole canvas if there are none."""
    return canvas.normalize_boxes(boxes) if len(boxes) else np.array([[0, 0, 1, 1]], np.float32)


def _at_random_positions(width: NDArray[np.float64], height: NDArray[np.float64], rng: np.random.Generator) -> Boxes:
    """Boxes (N, 4) of these widths and heights (N,), fractions of a canvas, at random positions inside it."""
    x, y = rng.random((2, len(width))) * (1 - np.stack([width, height]))
    return np.stack([x, y, x + width, y + height], 1).astype(np.float32)


def _ssd_crops(rng: np.random.Generator, min_scale: float) -> Boxes:
    """(TRIES, 4) fractions with SSD's distribution of scale and aspect; the aspect is relative to the canvas."""
    scale = rng.uniform(min_scale, 1, TRIES)
    aspect = rng.uniform(np.maximum(0.5, scale**2), np.minimum(2, scale**-2))
    return _at_random_positions(scale * aspect**0.5, scale / aspect**0.5, rng)


def _blitznet_crops(canvas: CropWindow, rng: np.random.Generator, min_area: float) -> tuple[Boxes, Flags]:
    """(TRIES, 4) fractions, and (TRIES,) whether each is large enough; the aspect is in pixels, the height uniform."""
    aspect = rng.uniform(0.5, 2, TRIES)
    relative = aspect * canvas.height / canvas.width  # aspect in fractions of the canvas
    tallest = np.minimum(relative**-0.5, np.minimum(1, 1 / relative))
    height = rng.uniform(np.minimum((min_area / relative) ** 0.5, tallest), tallest)
    width = height * relative
    return _at_random_positions(width, height, rng), width * height >= min_area - 1e-6
