"""Find the image files that annotation files name, in the places where tools leave them."""

import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from blitznet.core.image import IMAGE_SUFFIXES
from blitznet.data.file_walk import composed, walk_files

_MAX_FILES = 2_000_000
"""files under a root that are listed to find an image by its bare name"""
_SKIPPED_FOLDERS = ("segmentation", "mask")
"""beginnings of the names of folders that are not searched by bare name"""
_MAX_PATH, _MAX_PART = 2_000, 250
"""characters of a path, and of one name in it, at most"""
_SEPARATORS = re.compile(r"[\\/]+")


class ImageFinder:
    """Finds images by the names in an annotation file.

    A name may have the separators of Windows, accents of another form, `%20` for a space, and folders of another
    machine in front: the longest end of it that is a file in one of the folders is the image. If there is none, the
    only image of that bare name under the root is.

    Args:
        root: The dataset's folder.
        folders: Folders to search, in this order; `root` is the last one.
        is_skipped: Whether the folders of a name are left out of the search by bare name.
    """

    def __init__(
        self, root: Path, folders: Sequence[Path] = (), *, is_skipped: Callable[[str], bool] = lambda _: False
    ) -> None:
        self._root = root
        self._folders = list(dict.fromkeys([*folders, root]))
        self._is_skipped = is_skipped
        self._listings: dict[Path, dict[str, str]] = {}

    def find(self, name: str) -> Path:
        """The image of a name, if it is the only one; `find_all` finds several."""
        return self.find_all([name])[name]

    def find_all(self, names: Iterable[str]) -> dict[str, Path]:
        """The image of each name; if there is none, the path where it was expected first.

        A file that one name means exactly is never taken for another name with the same end, such as `b/1.jpg` where
        only `a/1.jpg` exists. Neither is a file at which several names end.

        Args:
            names: All names of the dataset.
        """
        matches = {name: self._match(name) for name in names}
        exact = {path for path, is_exact in matches.values() if is_exact}
        ends = Counter(path for path, is_exact in matches.values() if path is not None and not is_exact)
        return {
            name: path
            if path is not None and (is_exact or (path not in exact and ends[path] == 1))
            else self._expected(name)
            for name, (path, is_exact) in matches.items()
        }

    def _match(self, name: str) -> tuple[Path | None, bool]:
        """The file that a name means, or at which it ends; and whether it means exactly that file."""
        readings = [_parts(text) for text in dict.fromkeys(map(_possible_name, (name, unquote(name))))]
        for parts in readings:
            for start in range(len(parts)):
                for folder in self._folders:
                    path = self._file(folder.joinpath(*parts[start:]))
                    if path is not None:
                        return path, start == 0
        if Path(name).is_absolute() and is_file(Path(name)):
            return Path(name), True
        images = (self._by_name.get(composed(parts[-1])) for parts in readings if parts)
        return next((path for path in images if path is not None), None), False

    def _expected(self, name: str) -> Path:
        name = _possible_name(name)
        return self._folders[0].joinpath(*(_parts(name) or [name]))

    def _file(self, path: Path) -> Path | None:
        """The file of a path, whose name may have accents of another form."""
        name = self._listing(path.parent).get(composed(path.name))
        return None if name is None else path.with_name(name)

    def _listing(self, folder: Path) -> dict[str, str]:
        """Names in a folder by their composed form, listed once: faster than a query for each file."""
        if folder not in self._listings:
            try:
                self._listings[folder] = {composed(entry.name): entry.name for entry in os.scandir(folder)}
            except OSError:
                self._listings[folder] = {}
        return self._listings[folder]

    @cached_property
    def _by_name(self) -> dict[str, Path]:
        """Images under the root by name; names that occur twice are left out."""
        images: dict[str, Path] = {}
        repeated = set()
        files = walk_files(self._root, is_skipped=lambda name: self._is_skipped(name) or _has_masks(name))
        for path in itertools.islice(files, _MAX_FILES):
            name = composed(path.name)
            if name.lower().endswith(IMAGE_SUFFIXES):
                if name in images:
                    repeated.add(name)
                images[name] = path
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


def is_file(path: Path) -> bool:
    """Whether a path from a user's file is a file; False for one that no file system can have."""
    return file_exists(path) and path.is_file()


def _possible_name(name: str) -> str:
    """The name, with characters that no file name has escaped, and shortened to what a file system allows."""
    text = name if name.isprintable() else name.encode("unicode_escape").decode("ascii")
    is_long = len(text) > _MAX_PATH or any(len(part) > _MAX_PART for part in _SEPARATORS.split(text))
    return text[-_MAX_PART:].encode()[-_MAX_PART:].decode(errors="ignore") if is_long else text


def _has_masks(folder_name: str) -> bool:
    """Whether a folder contains masks, which have the names of their images."""
    return folder_name.lower().startswith(_SKIPPED_FOLDERS)


def _parts(name: str) -> list[str]:
    """The folders and the file of a name."""
    return [part for part in _SEPARATORS.split(link_path(name)) if part not in ("", ".", "..")]


def link_path(name: str) -> str:
    """The path in a link such as `/data/local-files/?d=images/a.jpg` or `https://x.org/a.jpg?key=1`."""
    local = name.partition("?d=")[2]
    if local:
        return local
    return name.partition("?")[0] if "://" in name else name
