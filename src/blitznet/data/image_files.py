"""Find the image files that annotation files name, in the places where tools leave them."""

import os
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from blitznet.core.image import IMAGE_SUFFIXES

_MAX_FILES = 2_000_000
"""files under a root that are listed to find an image by its bare name"""
_SKIPPED_FOLDERS = (".", "segmentation", "mask")
"""beginnings of the names of folders that are not searched by bare name"""
_MAX_PATH, _MAX_PART = 2_000, 250
"""characters of a path, and of one name in it, at most"""
_SEPARATORS = re.compile(r"[\\/]+")


class ImageFinder:
    """Finds images by the names in an annotation file.

    A name may have the separators of Windows, and folders of another machine in front: the longest end of it that is a
    file in one of the folders is the image. If there is none, the only image of that bare name under the root is.

    Args:
        root: The dataset's folder.
        folders: Folders to search, in this order; `root` is the last one.
    """

    def __init__(self, root: Path, folders: Sequence[Path] = ()) -> None:
        self._root = root
        self._folders = list(dict.fromkeys([*folders, root]))
        self._listings: dict[Path, frozenset[str]] = {}

    def find(self, name: str) -> Path:
        """The image of a name; if there is none, the path where it was expected first."""
        name = _possible_name(name)
        parts = [part for part in _SEPARATORS.split(_strip_query(name)) if part not in ("", ".", "..")]
        if not parts:
            return self._folders[0] / name
        for start in range(len(parts)):
            for folder in self._folders:
                path = folder.joinpath(*parts[start:])
                if path.name in self._listing(path.parent):
                    return path
        absolute = Path(name)
        if absolute.is_absolute() and absolute.is_file():
            return absolute
        return self._by_name.get(parts[-1]) or self._folders[0].joinpath(*parts)

    def _listing(self, folder: Path) -> frozenset[str]:
        """Names in a folder, listed once: faster than a query for each file."""
        if folder not in self._listings:
            try:
                self._listings[folder] = frozenset(entry.name for entry in os.scandir(folder))
            except OSError:
                self._listings[folder] = frozenset()
        return self._listings[folder]

    @cached_property
    def _by_name(self) -> dict[str, Path]:
        """Images under the root by name; names that occur twice are left out."""
        images: dict[str, Path] = {}
        repeated = set()
        for path in _walk(self._root):
            if path.name in images:
                repeated.add(path.name)
            images[path.name] = path
        return {name: path for name, path in images.items() if name not in repeated}


def strip_suffix(name: str) -> str:
    """A file name of an annotation without its suffix, with `/` between folders; a name without a file stays."""
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.name else name


def file_exists(path: Path) -> bool:
    """Whether a path from a user's file exists; False for one that no file system can have."""
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or a null character
        return False


def _possible_name(name: str) -> str:
    """The name, with characters that no file name has escaped, and shortened to what a file system allows."""
    text = name if name.isprintable() else name.encode("unicode_escape").decode("ascii")
    is_long = len(text) > _MAX_PATH or any(len(part) > _MAX_PART for part in _SEPARATORS.split(text))
    return text[-_MAX_PART:].encode()[-_MAX_PART:].decode(errors="ignore") if is_long else text


def _walk(root: Path) -> Iterator[Path]:
    """Image files under a folder, up to a limit."""
    count = 0
    for folder, subfolders, names in os.walk(root):
        # a mask has the name of its image, but is none
        subfolders[:] = sorted(name for name in subfolders if not name.lower().startswith(_SKIPPED_FOLDERS))
        for name in names:
            count += 1
            if count > _MAX_FILES:
                return
            if not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES):
                yield Path(folder, name)


def _strip_query(name: str) -> str:
    """The path in a link such as `/data/local-files/?d=images/a.jpg`."""
    head, query, tail = name.partition("?d=")
    return tail if query else head
