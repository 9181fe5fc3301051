"""How many threads an engine computes with."""

import os
from math import ceil
from pathlib import Path

from blitznet.core.errors import UsageError

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""a container's share of processor time: `200000 100000` is two processors, `max 100000` no limit"""

_LANES = 8
"""networks at once at most: each holds its weights, and what Python does for a image, a fifth of it, it does for one
at a time"""


def threads_for(expected: int | None) -> int:
    """The number that was asked for, or one for each processor there is for us.

    Raises UsageError for less than 1.
    """
    if expected is not None and expected < 1:
        raise UsageError(f"threads: expected 1 or more, got {expected}")
    return expected or available_threads()


def replicas_for(threads: int) -> list[int]:
    """Threads of each of the networks that share so many: one each, more where there would be too many networks."""
    lanes = min(threads, _LANES)
    return [threads // lanes] * lanes


def available_threads() -> int:
    """Processors this process may use: those it is bound to, and no more than its container's share of time.

    More threads than that wait for each other, and a frame takes many times as long.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(bound, _quota() or bound)


def _quota() -> int | None:
    try:
        time, period = _QUOTA.read_text(encoding="ascii").split()
        return max(1, ceil(int(time) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):  # no container, no limit, or not Linux
        return None
