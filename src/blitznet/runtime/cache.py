"""Where engines keep what they compiled, so that it is compiled once."""

import os
from pathlib import Path

LIMIT = 2**30
"""bytes kept in one folder; the oldest files go first"""


def cache_folder(engine: str) -> Path | None:
    """The folder of one engine's compiled models, under $XDG_CACHE_HOME or ~/.cache; None if it cannot be written.

    A cache saves a second and is never worth an error.
    """
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(base) / "blitznet" / engine
        folder.mkdir(parents=True, exist_ok=True)
        _make_room(folder)
    except (OSError, RuntimeError):  # RuntimeError: a user without a home
        return None
    return folder if os.access(folder, os.W_OK) else None


def _make_room(folder: Path) -> None:
    """Delete the oldest files until the rest are fewer bytes than the limit."""
    files = sorted((file for file in folder.iterdir() if file.is_file()), key=lambda file: -file.stat().st_mtime)
    total = 0
    for file in files:
        total += file.stat().st_size
        if total > LIMIT:
            file.unlink(missing_ok=True)
