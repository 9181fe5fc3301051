"""Anchor boxes (default boxes) from their layout and the sizes of the feature maps."""

from functools import lru_cache

import numpy as np

from blitznet.core.arrays import Floats, Size
from blitznet.core.spec import AnchorLayout


def feature_map_sizes(layout: AnchorLayout, size: Size) -> tuple[Size, ...]:
    """Sizes of the feature maps that predict boxes.

    Args:
        layout: Strides of the maps.
        size: (height, width) of the network's input, pixels.

    Returns:
        (h, w) of each map, finest first: ceil(size / stride). The last map is always 1x1.
    """
    height, width = size
    return (*((-(-height // stride), -(-width // stride)) for stride in layout.strides), (1, 1))


def scales(layout: AnchorLayout) -> list[tuple[float, float]]:
    """Edges of the small square anchor of each map and of the next map, as fractions of the image."""
    count = len(layout.strides) + 1
    step = (layout.max_scale - layout.second_scale) / (count - 2)
    low = [layout.min_scale, *(layout.second_scale + k * step for k in range(count - 1))]
    return [(low[k], low[k + 1] if k + 1 < count else layout.max_scale + step) for k in range(count)]


def shapes(layout: AnchorLayout) -> Floats:
    """(L, P, 2) width and height of each map's anchors, fractions of the image: small square, ratios, large square."""
    rows = []
    for small, large in scales(layout):
        row = [(small, small)]
        row += [(small * ratio**0.5, small / ratio**0.5) for ratio in layout.ratios]
        row += [((small * large) ** 0.5,) * 2]
        rows.append(row)
    return np.asarray(rows, np.float32)


@lru_cache(maxsize=16)
def generate_anchors(layout: AnchorLayout, map_sizes: tuple[Size, ...]) -> Floats:
    """All anchors of a network.

    Args:
        layout: Scales and ratios.
        map_sizes: (h, w) of each feature map, from `feature_map_sizes`.

    Returns:
        (A, 4) cx cy w h as fractions of the image, not clipped, ordered by map, row, column, shape. The array is
        cached and read-only.
    """
    blocks = []
    for (h, w), shape in zip(map_sizes, shapes(layout), strict=True):
        y, x = np.meshgrid((np.arange(h) + 0.5) / h, (np.arange(w) + 0.5) / w, indexing="ij")
        centers = np.stack([x, y], -1)[:, :, None].repeat(len(shape), 2)  # (h, w, P, 2)
        box_sizes = np.broadcast_to(shape, (h, w, *shape.shape))  # (h, w, P, 2)
        blocks.append(np.concatenate([centers, box_sizes], -1).reshape(-1, 4))
    anchors = np.concatenate(blocks).astype(np.float32)
    anchors.setflags(write=False)
    return anchors
