"""Memory allocation during training on a CPU."""

import ctypes
import sys
from functools import cache

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
"""parameters of glibc's mallopt(3)"""
_NEVER = 2**31 - 1
_PAD = 64 * 2**20
"""bytes that the heap grows by beyond a request"""


@cache
def reuse_freed_memory() -> bool:
    """Make glibc reuse the memory of freed tensors instead of returning it to the system.

    By default glibc takes each block above 32 MB from the system and returns it when it is freed. The activations of
    a training step are such blocks: each step then takes a million new pages, which the system has to clear.

    Returns:
        Whether the C library is glibc; others are left as they are.
    """
    if sys.platform != "linux":
        return False
    try:
        library = ctypes.CDLL("libc.so.6")
        settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER), (_M_TOP_PAD, _PAD))
        return all(library.mallopt(parameter, value) == 1 for parameter, value in settings)
    except (OSError, AttributeError):
        return False
