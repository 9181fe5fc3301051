"""How this process' memory is kept."""

from functools import cache

import numpy as np

_KEPT = 16 * 2**20
"""bytes; more than all arrays of one image"""


@cache
def keep_freed_memory() -> None:
    """Let the C library keep what one image frees for the next, instead of giving it back to the system each time.

    glibc learns from the largest block that was ever freed: up to twice its size stays (M_TRIM_THRESHOLD in
    mallopt(3)). Without this, each image took 600 pages anew from the system, 1.5 of 10 ms. Other libraries do not
    mind.
    """
    np.empty(_KEPT, np.uint8)  # never written to, so it takes no memory either
