"""Memory allocation of this process."""

from functools import cache

import numpy as np

_BYTES = 16 * 2**20
"""size of the block to free, larger than all arrays of one image"""


@cache
def keep_freed_memory() -> None:
    """Make the C library reuse freed memory instead of returning it to the system after each image."""
    # glibc keeps up to twice the size of the largest block that was ever freed (M_TRIM_THRESHOLD in mallopt(3)).
    # Without this each image takes 600 new pages from the system, 1.5 of 10 ms. Other C libraries are not affected.
    np.empty(_BYTES, np.uint8)  # never written to, so no memory is used
