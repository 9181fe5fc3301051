"""Source indices and weights of bilinear resizing, with half-pixel centers (torch's `align_corners=False`)."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import Floats

Indices = NDArray[np.intp]
"""integer indices of any shape"""
Positions = NDArray[np.floating[Any]]
"""(n,) positions along an axis, pixels"""


class SourceIndices(NamedTuple):
    """For each of n output pixels along one axis, the two source pixels it lies between."""

    low: Indices
    """(n,) index of the source pixel before"""
    high: Indices
    """(n,) index of the source pixel after; equal to `low` at the end"""
    weight: Floats
    """(n,) weight of `high`, 0..1; that of `low` is 1 - weight"""


def source_indices(source_size: int, output_size: int) -> SourceIndices:
    """Source indices for resizing an axis of `source_size` pixels to `output_size`."""
    return indices_at((np.arange(output_size) + 0.5) * (source_size / output_size) - 0.5, source_size)


def indices_at(position: Positions, source_size: int) -> SourceIndices:
    """Source indices at positions (n,) in source pixels, where 0 is the center of the first; clipped to the axis."""
    position = position.clip(0, source_size - 1)
    low = position.astype(np.intp)
    return SourceIndices(low, np.minimum(low + 1, source_size - 1), (position - low).astype(np.float32))
