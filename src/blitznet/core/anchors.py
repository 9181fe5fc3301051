"""The grid of anchors, from a layout and the sizes of the maps."""

from functools import lru_cache

import numpy as np

from blitznet.core.arrays import Floats
from blitznet.core.spec import AnchorLayout

Grid = tuple[int, int]
"""(h, w) of one map"""


def feature_map_sizes(layout: AnchorLayout, size: tuple[int, int]) -> tuple[Grid, ...]:
    """(h, w) of every predicting map for an image of (height, width) pixels, finest first.

    Halving always rounds up, so a map's side is ceil(side / stride); the last map is pooled to 1x1.
    """
    height, width = size
    return (*((-(-height // s), -(-width // s)) for s in layout.strides), (1, 1))


def scales(layout: AnchorLayout) -> list[tuple[float, float]]:
    """(min, max) of each map: the small square's side and the next map's."""
    count = len(layout.strides) + 1
    step = (layout.max_scale - layout.second_scale) / (count - 2)
    low = [layout.min_scale, *(layout.second_scale + k * step for k in range(count - 1))]
    return [(low[k], low[k + 1] if k + 1 < count else layout.max_scale + step) for k in range(count)]


def shapes(layout: AnchorLayout) -> Floats:
    """(L, P, 2) width and height: square, one for each ratio, the larger square."""
    rows = []
    for small, large in scales(layout):
        sides = [(small, small)]
        sides += [(small * ratio**0.5, small / ratio**0.5) for ratio in layout.ratios]
        sides += [((small * large) ** 0.5,) * 2]
        rows.append(sides)
    return np.asarray(rows, np.float32)


@lru_cache(maxsize=16)
def generate_anchors(layout: AnchorLayout, sides: tuple[Grid, ...]) -> Floats:
    """(A, 4) cx cy w h as fractions of the image, not clipped; order: map, row, column, shape."""
    blocks = []
    for (h, w), shape in zip(sides, shapes(layout), strict=True):
        y, x = np.meshgrid((np.arange(h) + 0.5) / h, (np.arange(w) + 0.5) / w, indexing="ij")
        centres = np.stack([x, y], -1)[:, :, None].repeat(len(shape), 2)  # (h, w, P, 2)
        spread = np.broadcast_to(shape, (h, w, *shape.shape))  # (h, w, P, 2)
        blocks.append(np.concatenate([centres, spread], -1).reshape(-1, 4))
    anchors = np.concatenate(blocks).astype(np.float32)
    anchors.setflags(write=False)
    return anchors
