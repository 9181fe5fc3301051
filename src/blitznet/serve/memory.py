"""Memory that requests needed is returned to the system.

The C library keeps freed memory for later. After a burst of large images that is hundreds of megabytes. Some of it
belongs to threads, and cannot be returned later: the end of a thread's memory, up to 64 MB.
"""

import asyncio
import gc
from collections.abc import Callable

from blitznet.core.glibc import M_MMAP_THRESHOLD, set_malloc_options, trim_malloc

INTERVAL = 5.0
"""seconds between two checks"""
_LARGE_BLOCK = 4 << 20
"""bytes of a block that is taken from the system and returned to it; the C library would raise this up to 32 MB"""


def return_large_blocks() -> bool:
    """Let large blocks be returned to the system when they are freed; False if this is not possible (only glibc)."""
    return set_malloc_options((M_MMAP_THRESHOLD, _LARGE_BLOCK))


def trim_memory() -> bool:
    """Free garbage, and return free memory to the system; False if there is none, or no such function (only glibc)."""
    gc.collect()
    return trim_malloc()


async def keep_trimmed(
    is_idle: Callable[[], bool],
    count: Callable[[], int],
    *,
    interval: float = INTERVAL,
    trim: Callable[[], object] = trim_memory,
) -> None:
    """Trim the memory whenever requests came and are done, until cancelled.

    Args:
        is_idle: Whether no request is under way.
        count: Number of requests so far.
        interval: Seconds between two checks.
        trim: Trims the memory; called in a thread.
    """
    trimmed = count()
    while True:
        await asyncio.sleep(interval)
        if is_idle() and count() != trimmed:
            trimmed = count()
            await asyncio.to_thread(trim)
