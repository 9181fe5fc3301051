"""Names of the house's arrays, and their shapes.

The legend, one letter each, used in every docstring and after every reshape:
B batch, A anchors, K classes without background, C = K + 1 classes with background,
N things kept, M objects of one image, T objects of a batch, H W original image, S network side,
h w feature grid, L levels (maps that predict), P anchors per cell, D channels.
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from blitznet.core.errors import BlitzNetError

RGBArray: TypeAlias = NDArray[np.uint8]
"""(H, W, 3) uint8 RGB"""
Boxes: TypeAlias = NDArray[np.float32]
"""(N, 4) x1 y1 x2 y2"""
Scores: TypeAlias = NDArray[np.float32]
"""(N,) 0..1"""
Labels: TypeAlias = NDArray[np.int64]
"""(N,) 0..K-1, background not counted"""
Flags: TypeAlias = NDArray[np.bool_]
"""(N,) or (K,) bool"""
ClassMap: TypeAlias = NDArray[np.uint8]
"""(H, W) 0 = background, label + 1 = class, 255 = void"""
Floats: TypeAlias = NDArray[np.float32]
"""any shape, float32; the docstring gives the legend"""

IGNORE_INDEX = 255
"""the value of a pixel that counts for nothing"""


def require_shape(array: NDArray[Any], shape: tuple[int | None, ...], *, name: str) -> None:
    """Refuse an array of another shape; None in `shape` stands for any length."""
    fits = array.ndim == len(shape) and all(
        expected is None or expected == actual for expected, actual in zip(shape, array.shape, strict=True)
    )
    if not fits:
        expected = ", ".join("any" if side is None else str(side) for side in shape)
        raise BlitzNetError(f"{name}: expected shape ({expected}), got {array.shape}")
