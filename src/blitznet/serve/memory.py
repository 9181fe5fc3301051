"""Memory that requests needed is returned to the system.

The C library keeps freed memory for later. After a burst of large images that is hundreds of megabytes.
"""

import asyncio
import ctypes
import sys
from collections.abc import Callable

INTERVAL = 5.0
"""seconds between two checks"""


def trim_memory() -> bool:
    """Return the C library's free memory to the system; False if there is none, or no such function (only glibc)."""
    if sys.platform != "linux":
        return False
    function = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return function is not None and bool(function(0))


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
