"""Number of threads that an engine computes with."""

import os
from math import ceil
from pathlib import Path

from blitznet.core.errors import UsageError

_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""a container's CPU limit: `200000 100000` is two processors, `max 100000` no limit"""

_MAX_REPLICAS = 8
"""maximum number of replicas: each has its own weights, and they share the GIL for a fifth of an image's time"""


def resolve_threads(threads: int | None) -> int:
    """The requested number of threads, or one for each available processor if None.

    Raises:
        UsageError: Fewer than 1 was requested.
    """
    if threads is not None and not (isinstance(threads, int) and threads >= 1):
        raise UsageError(f"threads: expected 1 or more, got {threads!r}")
    return threads or available_threads()


def replica_threads(threads: int) -> list[int]:
    """Threads of each replica, from `threads` in total: 1 each, or more where that needs over eight replicas."""
    replicas = min(threads, _MAX_REPLICAS)
    return [threads // replicas] * replicas


def available_threads() -> int:
    """Processors this process may use: its CPU affinity, limited by the container's quota."""
    # More threads than processors wait for each other, and an image takes many times as long.
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(affinity, _container_quota() or affinity)


def _container_quota() -> int | None:
    try:
        quota, period = _CGROUP_QUOTA.read_text(encoding="ascii").split()
        return max(1, ceil(int(quota) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):  # no container, no limit, or not Linux
        return None
