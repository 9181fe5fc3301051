"""Image files from paths, folders and globs."""

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import overload

from blitznet.core.address import printable_address
from blitznet.core.errors import DataError
from blitznet.core.image import IMAGE_SUFFIXES, address_hint

_UNREADABLE_SUFFIXES = frozenset(
    ".avif .heic .heif .hif .jxl .jxr .jp2 .svg .ico .psd .tga .exr .hdr"
    " .dng .cr2 .cr3 .nef .arw .orf .rw2 .raf .raw".split()
)
SAMPLES = Path(__file__).parents[1] / "weights" / "samples"
"""public-domain photographs in the package; CREDITS.md there names their authors"""


class ImagePaths(Sequence[Path]):
    """Paths that are stored as text: a Path object needs ten times the memory."""

    def __init__(self, names: Sequence[str], prefix: str = "") -> None:
        """Paths with these names, after a prefix that all have."""
        self._names, self._prefix = names, prefix

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Path]:
        return (Path(self._prefix + name) for name in self._names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> "ImagePaths": ...
    def __getitem__(self, index: int | slice) -> "Path | ImagePaths":
        if isinstance(index, slice):
            return ImagePaths(self._names[index], self._prefix)
        return Path(self._prefix + self._names[index])


def find_images(sources: Sequence[str | Path] = ()) -> ImagePaths:
    """Expand sources to image files.

    Args:
        sources: Image files, folders (the images directly in them, sorted by name) and globs such as
            `images/**/*.jpg` (sorted). Default: the sample images in the package.

    Returns:
        Each file once, in the order of the sources.

    Raises:
        DataError: A source matches no image.
    """
    expanded = [_expand(source) for source in sources or (SAMPLES,)]
    if len(expanded) == 1:  # no file twice
        return expanded[0]
    return ImagePaths(list(dict.fromkeys(str(path) for paths in expanded for path in paths)))


def in_number_order(images: ImagePaths) -> ImagePaths:
    """The images sorted by the numbers in their names, as frames of a video: `frame2.jpg` before `frame10.jpg`."""

    def key(name: str) -> tuple[list[str | int], str]:
        parts: list[str | int] = [*re.split(r"([0-9]+)", _sort_key(name))]
        parts[1::2] = map(int, parts[1::2])  # text and numbers alternate
        return parts, name

    return ImagePaths(sorted(map(str, images), key=key))


def skipped_images(sources: Sequence[str | Path]) -> Counter[str]:
    """Endings of images in folders that `find_images` skips, because their format cannot be read, with their number."""
    folders = [Path(source) for source in sources if str(source) and Path(source).is_dir()]
    entries = (entry for folder in folders for entry in os.scandir(folder))
    suffixes = ((os.path.splitext(entry.name)[1].lower(), entry) for entry in entries)  # noqa: PTH122 - no Path for each
    return Counter(suffix for suffix, entry in suffixes if suffix in _UNREADABLE_SUFFIXES and not _is_folder(entry))


def _expand(source: str | Path) -> ImagePaths:
    try:
        return _expand_existing(source)
    except OSError as error:
        raise DataError(f"{printable_address(str(source))}: cannot be opened ({error.strerror or error})") from error


def _expand_existing(source: str | Path) -> ImagePaths:
    if not str(source):
        raise DataError("expected an image, a folder or a glob, got an empty name; an unset variable?")
    path = Path(source)
    if path.is_dir():
        return _images_in(path)
    if path.exists() or not glob.has_magic(str(source)) or address_hint(str(source)):
        if not path.exists():
            hint = address_hint(str(source))
            raise DataError(
                f"{printable_address(str(source))}: expected an image, a folder or a glob, got a path that does not "
                f"exist{hint}"
            )
        if not path.is_file():
            raise DataError(f"{source}: expected a file, got a pipe or a device; save the image to a file first")
        return ImagePaths([str(path)])
    matches = (name for name in glob.iglob(str(source), recursive=True) if _is_image_name(name))  # noqa: PTH207 - Path.glob needs a root
    names = _without_loops(str(Path(name)) for name in matches if not os.path.isdir(name))  # noqa: PTH112 - no Path for each
    images = sorted(names, key=_sort_key)
    if not images:
        raise DataError(f"{source}: expected a glob that matches images ({', '.join(IMAGE_SUFFIXES)}), got no match")
    return ImagePaths(images)


def _images_in(folder: Path) -> ImagePaths:
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if _is_image_name(entry.name) and not _is_folder(entry))
    if not names:
        raise DataError(
            f"{folder}: expected images in this folder ({', '.join(IMAGE_SUFFIXES)}), got none; "
            f"subfolders are not searched, name them or write '{folder / '**' / '*.jpg'}'"
        )
    return ImagePaths(names, prefix=str(folder / "x")[:-1])


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one; a broken link is not, so that it is reported as an image."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _without_loops(names: Iterable[str]) -> Iterable[str]:
    """Paths without those that reach the same entry of a folder over more links, as `**` does in a loop of links."""
    resolve = cache(os.path.realpath)
    shortest: dict[tuple[str, str], str] = {}
    for name in names:
        folder, base = os.path.split(name)
        entry = (resolve(folder), base)
        shortest[entry] = min(shortest.get(entry, name), name, key=lambda path: (path.count(os.sep), path))
    return shortest.values()


def _is_image_name(name: str) -> bool:
    """Whether a path ends as images do, and is not hidden as the files of macOS in zips are."""
    stem, suffix = os.path.splitext(os.path.basename(name))  # noqa: PTH119, PTH122 - no Path for each
    return suffix.lower() in IMAGE_SUFFIXES and not stem.startswith("._")


def _sort_key(name: str) -> str:
    """A key by which the content of a folder is together."""
    return name.replace(os.sep, "\0")
