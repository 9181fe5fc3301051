"""Functions of glibc's memory allocation; other C libraries lack them."""

import ctypes
import sys
from collections.abc import Callable

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4
"""parameters of mallopt(3)"""


def set_malloc_options(*options: tuple[int, int]) -> bool:
    """Set parameters of mallopt(3), pairs of parameter and value; False if this is not possible."""
    function = _function("mallopt")
    return function is not None and all(function(parameter, value) == 1 for parameter, value in options)


def trim_malloc() -> bool:
    """Return free memory to the system (malloc_trim(3)); False if there is none, or no such function."""
    function = _function("malloc_trim")
    return function is not None and bool(function(0))


def _function(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
