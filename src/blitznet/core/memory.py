"""Memory of this machine that a process can still use."""

import os
from pathlib import Path, PurePosixPath

GB = 10**9
"""bytes of a gigabyte"""


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process can allocate without swapping: free memory, within the limits of its cgroup.

    Pages of files that the system can drop count as free. Without /proc, all memory of the machine counts as free.

    Args:
        root: Folder of /proc and /sys, for tests.

    Returns:
        The number of bytes; None if the system does not tell.
    """
    limits = [_system_memory(root), *_cgroup_memory(root)]
    known = [limit for limit in limits if limit is not None]
    return min(known, default=None)


def _system_memory(root: Path) -> int | None:
    """Linux's MemAvailable, else all memory."""
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _cgroup_memory(root: Path) -> list[int]:
    """What the limit of each cgroup that contains this process leaves."""
    free = []
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, group = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / ("memory" if controllers else "")
        limit_name, usage_name = ("limit_in_bytes", "usage_in_bytes") if controllers else ("max", "current")
        path = PurePosixPath(group.lstrip("/"))
        for folder in {base, *(base / parent for parent in (path, *path.parents))}:
            limit, usage = (_number(folder / f"memory.{name}") for name in (limit_name, usage_name))
            if limit is not None and usage is not None:
                free.append(max(0, limit - usage + _droppable(folder)))
    return free


def _droppable(folder: Path) -> int:
    """Bytes of a cgroup's usage that are pages of files not in use."""
    for line in _lines(folder / "memory.stat"):
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0


def _number(path: Path) -> int | None:
    """The number in a file; None for `max` or a missing file."""
    text = next(iter(_lines(path)), "")
    return int(text) if text.isdecimal() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
