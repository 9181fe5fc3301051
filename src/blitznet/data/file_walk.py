"""Walk the folders of a dataset, and compare file names as people see them."""

import os
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from blitznet.core.errors import DataError

_SYSTEM_FOLDERS = frozenset({"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information"})
"""folders of operating systems and disk stations: resource forks, thumbnails and deleted files"""


def walk_files(
    root: Path, *, depth: int | None = None, is_skipped: Callable[[str], bool] = lambda _: False
) -> Iterator[Path]:
    """All files under a folder, also behind links to folders; without hidden files and folders of operating systems.

    Args:
        root: The folder; one that does not exist has no files.
        depth: Levels of folders, 1 for the folder alone. Default: all.
        is_skipped: Whether the folders of a name are left out.

    Raises:
        DataError: A folder cannot be read.
    """
    folders: list[tuple[Path, frozenset[str], int]] = [(root, frozenset(), 1)] if root.is_dir() else []
    while folders:
        folder, ancestors, level = folders.pop()
        real = os.path.realpath(folder)
        if real in ancestors:
            continue  # a link to a folder that contains it
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"{folder}: cannot be read ({error.strerror})") from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not entry.is_dir():
                yield folder / entry.name
            elif entry.name not in _SYSTEM_FOLDERS and not is_skipped(entry.name) and level != depth:
                folders.append((folder / entry.name, ancestors | {real}, level + 1))


def composed(name: str) -> str:
    """A file name with composed accents: macOS and its zips have `e` and an accent where other systems have `é`."""
    return unicodedata.normalize("NFC", name)
