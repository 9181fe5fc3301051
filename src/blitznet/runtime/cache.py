"""Folders for models that an engine compiled, so that they are compiled once."""

import os
from pathlib import Path

MAX_BYTES = 2**30
"""maximum bytes of the files in one folder; the oldest beyond it are deleted"""


def cache_folder(engine: str) -> Path | None:
    """The folder of one engine's compiled models, under $XDG_CACHE_HOME or ~/.cache.

    Returns:
        The folder; None if it cannot be written, which is not an error: the cache only saves a second.
    """
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(base) / "blitznet" / engine
        folder.mkdir(parents=True, exist_ok=True)
        _delete_oldest(folder)
    except (OSError, RuntimeError):  # RuntimeError: the user has no home folder
        return None
    return folder if os.access(folder, os.W_OK) else None


def _delete_oldest(folder: Path) -> None:
    """Delete the oldest files beyond the limit."""
    files = sorted((file for file in folder.iterdir() if file.is_file()), key=lambda file: -file.stat().st_mtime)
    total = 0
    for file in files:
        total += file.stat().st_size
        if total > MAX_BYTES:
            file.unlink(missing_ok=True)
