"""Where the pixels of a image lie between the places of a smaller map: bilinear, half-pixel centres."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import Floats

Places: TypeAlias = NDArray[np.intp]
"""(H,) of a side of a map"""


def source_indices(inside: int, outside: int) -> tuple[Places, Floats]:
    """For each of `outside` pixels (H,) the place of `inside` before it, and how far it is to the next, 0..1.

    As torch's `align_corners=False`.
    """
    place = (np.arange(outside) + 0.5) * (inside / outside) - 0.5
    place = place.clip(0, inside - 1)
    low = place.astype(np.intp)
    return low, (place - low).astype(np.float32)
