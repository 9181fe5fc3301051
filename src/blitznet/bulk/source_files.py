"""Files of a source: images, tar files and Parquet files in folders, text lists, globs and URLs, one at a time.

Only the names of one folder are in memory at once. Files are sorted by name in each folder, so that shards are the same
in each run.
"""

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from blitznet.bulk.remote import is_url, list_remote, match_remote, normal_url, open_remote, remote_entry
from blitznet.core.errors import DataError
from blitznet.core.image import IMAGE_SUFFIXES

FileKind = Literal["image", "tar", "parquet"]
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
LIST_SUFFIXES = (".txt", ".lst")
"""endings of text files that list one path or URL in each line"""
_MISSING = "missing"
"""version of a file that does not exist"""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """An image, or a tar or Parquet file of images."""

    path: str
    """path or URL"""
    version: str
    """size and time of change, or the store's entity tag; it changes with the content"""
    kind: FileKind

    @property
    def is_container(self) -> bool:
        """Whether the file contains several images."""
        return self.kind != "image"


class FolderEntry(NamedTuple):
    """A file or a folder in a folder."""

    path: str
    version: str
    is_folder: bool


def find_files(sources: Iterable[str], *, excluded: str | None = None) -> Iterator[SourceFile]:
    """Yield the files of all sources, in the order of the sources.

    Args:
        sources: Image, tar and Parquet files, folders (with their subfolders), quoted globs, text lists, and URLs of
            these. Lines of a list are relative to the list's folder.
        excluded: A folder that is not searched: the output folder may be inside a source.

    Raises:
        DataError: A source does not exist or cannot be read.
        MissingExtra: A URL needs fsspec, and it is not installed.
    """
    for source in sources:
        yield from _expand(source, excluded)


def _expand(source: str, excluded: str | None) -> Iterator[SourceFile]:
    if not source:
        raise DataError("expected an image, a folder, a list or a URL, got an empty name; an unset variable?")
    if is_url(source):
        yield from _expand_url(source, excluded)
        return
    path = Path(source)
    try:
        if path.is_dir():
            yield from _walk(source, _list_local, excluded)
        elif path.exists():
            yield from _file_or_list(FolderEntry(source, _local_version(source), False))
        elif glob.has_magic(source):
            yield from _matches(source)
        else:
            raise DataError(f"{source}: expected an image, a folder, a list or a glob, got a path that does not exist")
    except OSError as error:
        raise DataError(f"{error.filename or source}: cannot be opened ({error.strerror or error})") from error


def _expand_url(url: str, excluded: str | None) -> Iterator[SourceFile]:
    if glob.has_magic(url.partition("?")[0]) and not url.startswith("http"):
        entries = [FolderEntry(*entry) for entry in match_remote(url)]
        if not entries:
            raise DataError(f"{url}: expected a glob that matches files, got no match")
        yield from (_source_file(entry) for entry in entries if not entry.is_folder)
        return
    entry = FolderEntry(*remote_entry(url))
    if entry.is_folder:
        yield from _walk(url, lambda path: [FolderEntry(*item) for item in list_remote(path)], excluded)
    else:
        yield from _file_or_list(entry)


def _file_or_list(entry: FolderEntry) -> Iterator[SourceFile]:
    if entry.path.lower().endswith(LIST_SUFFIXES):
        yield from _read_list(entry.path)
    else:
        yield _source_file(entry)


def _matches(pattern: str) -> Iterator[SourceFile]:
    paths = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob needs a root
    files = [path for path in paths if _kind(path) is not None and Path(path).is_file()]
    if not files:
        raise DataError(f"{pattern}: expected a glob that matches images, tar or Parquet files, got no match")
    yield from (_source_file(FolderEntry(path, _local_version(path), False)) for path in files)


def _walk(
    folder: str, list_folder: Callable[[str], Iterable[FolderEntry]], excluded: str | None
) -> Iterator[SourceFile]:
    """The files in a folder and its subfolders that can be read, sorted by name."""
    if excluded is not None and _normal(folder) == _normal(excluded):
        return
    for entry in list_folder(folder):
        if entry.is_folder:
            yield from _walk(entry.path, list_folder, excluded)
        elif (kind := _kind(entry.path)) is not None:
            yield SourceFile(entry.path, entry.version, kind)


def _normal(folder: str) -> str:
    return normal_url(folder) if is_url(folder) else os.path.realpath(folder)


def _list_local(folder: str) -> Iterator[FolderEntry]:
    """The entries of a local folder. Links to folders are not followed, because they may form a cycle."""
    with os.scandir(folder) as scanned:
        entries = sorted(scanned, key=lambda entry: entry.name)
    for entry in entries:
        if not entry.is_dir():
            yield FolderEntry(entry.path, _local_version(entry.path), False)
        elif not entry.is_symlink():
            yield FolderEntry(entry.path, "", True)


def _local_version(path: str) -> str:
    try:
        status = os.stat(path)  # noqa: PTH116 - no Path for each of millions of names
    except (OSError, ValueError):  # ValueError: a null character in a line of a list
        return _MISSING
    return f"{status.st_size}-{status.st_mtime_ns}"


def _read_list(path: str) -> Iterator[SourceFile]:
    """The files that a text file lists. Files of unknown suffix are images, as URLs often have none."""
    folder = path.rpartition("/")[0] if is_url(path) else os.path.dirname(path)  # noqa: PTH120
    with open_remote(path) if is_url(path) else Path(path).open("rb") as file:
        for line in file:
            text = os.fsdecode(line).strip("\r\n\ufeff")
            if text.strip():
                yield _listed(text, folder)


def _listed(text: str, folder: str) -> SourceFile:
    if is_url(text):  # not asked for its version, which would take a request for each
        return SourceFile(text, "", _kind(text) or "image")
    path = text if text.startswith("/") or not folder else f"{folder}/{text}"
    version = "" if is_url(path) else _local_version(path)
    return SourceFile(path, version, _kind(path) or "image")


def _source_file(entry: FolderEntry) -> SourceFile:
    return SourceFile(entry.path, entry.version, _kind(entry.path) or "image")


def _kind(path: str) -> FileKind | None:
    """The kind of a file by its suffix; None for one that is not read from a folder."""
    name = PurePosixPath(path.partition("?")[0] if is_url(path) else path).name.lower()
    if name.startswith("._"):  # metadata that macOS writes beside each file
        return None
    if name.endswith(TAR_SUFFIXES):
        return "tar"
    if name.endswith(".parquet"):
        return None if name.startswith(("_", ".")) else "parquet"
    return "image" if name.endswith(IMAGE_SUFFIXES) else None
