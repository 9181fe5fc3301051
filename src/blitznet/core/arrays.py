"""Array types and the legend of their shapes.

One letter for each axis, used in every docstring and after every reshape:
B batch, A anchors, K classes without background, C = K + 1 classes with background, N detections, M objects of one
image, T objects of a batch, H W image, S edge of the network's square input, h w feature map, L levels (feature maps
that predict boxes), P anchors per cell, D channels.
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from blitznet.core.errors import BlitzNetError

Size: TypeAlias = tuple[int, int]
"""(height, width) of an image or a feature map, pixels or cells"""
RGBArray: TypeAlias = NDArray[np.uint8]
"""(H, W, 3) uint8 RGB"""
Boxes: TypeAlias = NDArray[np.float32]
"""(N, 4) x1 y1 x2 y2"""
Scores: TypeAlias = NDArray[np.float32]
"""(N,) 0..1"""
Labels: TypeAlias = NDArray[np.int64]
"""(N,) class ids 0..K-1, without background"""
Flags: TypeAlias = NDArray[np.bool_]
"""(N,) or (K,) bool"""
ClassMap: TypeAlias = NDArray[np.uint8]
"""(H, W) 0 = background, label + 1 = class, 255 = ignored"""
Floats: TypeAlias = NDArray[np.float32]
"""float32 of any shape; the docstring gives it"""

IGNORE_INDEX = 255
"""class-map value of pixels that are ignored in training and evaluation"""


def require_shape(array: NDArray[Any], shape: tuple[int | None, ...], *, name: str) -> None:
    """Raise BlitzNetError unless an array has this shape, where None stands for any length."""
    fits = array.ndim == len(shape) and all(
        expected is None or expected == actual for expected, actual in zip(shape, array.shape, strict=True)
    )
    if not fits:
        expected = ", ".join("any" if length is None else str(length) for length in shape)
        raise BlitzNetError(f"{name}: expected shape ({expected}), got {array.shape}")
