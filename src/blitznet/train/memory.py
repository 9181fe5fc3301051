"""Memory allocation during training on a CPU."""

from functools import cache

from blitznet.core.glibc import M_MMAP_MAX, M_TOP_PAD, M_TRIM_THRESHOLD, set_malloc_options

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
    return set_malloc_options((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, _NEVER), (M_TOP_PAD, _PAD))
