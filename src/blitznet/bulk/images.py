"""The images of a shard: files, members of a tar file, or rows of a Parquet file, one at a time."""

import tarfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tarfile import ReadError
from typing import IO, Self

from blitznet.bulk.parquet import count_rows, read_image_cells
from blitznet.bulk.remote import MAX_IMAGE_BYTES, fetch, is_url, open_remote
from blitznet.bulk.settings import BulkSettings
from blitznet.bulk.shards import Shard
from blitznet.bulk.source_files import SourceFile
from blitznet.core.errors import DataError
from blitznet.core.image import IMAGE_SUFFIXES

# Not in the stub of tarfile. `HeaderError`, which is, would include the mark of the end.
_BROKEN_HEADERS = (tarfile.EmptyHeaderError, tarfile.TruncatedHeaderError, tarfile.InvalidHeaderError)  # type: ignore[attr-defined] # not in the stub
_FETCHES = 16
"""images that are fetched from a store at the same time"""
_FETCHED_AHEAD = 32
"""images of a store in memory before they are decoded"""


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An image and its id, or the error of one that cannot be read."""

    id: str
    """path, URL, or a name inside a tar or Parquet file"""
    content: Path | bytes
    error: str | None = None


def shard_images(shard: Shard, settings: BulkSettings) -> Iterator[NamedImage]:
    """Read the images of a shard; a bounded number of them is in memory.

    Yields:
        An image for each file or row. A tar or Parquet file that breaks off yields its error as the last one.

    Raises:
        UsageError: A store cannot be reached.
    """
    first = shard.files[0]
    if first.is_container:
        yield from islice(_container_images(first, settings), shard.limit)
    else:
        yield from _file_images(shard.files)


def count_images(file: SourceFile, settings: BulkSettings) -> int:
    """The number of images in a tar or Parquet file, with one for the error of a broken file."""
    if file.kind == "parquet":
        try:
            with _opened(file.path) as stream:
                return count_rows(stream, file.path)
        except DataError:
            return 1
    return sum(1 for _ in _container_images(file, settings))


def _container_images(file: SourceFile, settings: BulkSettings) -> Iterator[NamedImage]:
    try:
        with _opened(file.path) as stream:
            if file.kind == "tar":
                yield from _members(stream, file.path)
            else:
                for image_id, content in read_image_cells(stream, file.path, settings.image_column, settings.id_column):
                    yield NamedImage(image_id, content)
    except DataError as error:
        yield NamedImage(file.path, b"", str(error))


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    if is_url(path):
        with open_remote(path) as remote:
            yield remote
        return
    try:
        with Path(path).open("rb") as file:
            yield file
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _members(stream: IO[bytes], path: str) -> Iterator[NamedImage]:
    """The image files of a tar file, read from its start to its end."""
    try:
        with tarfile.open(fileobj=stream, mode="r|*", tarinfo=_StrictTarInfo) as tar:
            for member in _tar_members(tar):
                name = member.name.lower()
                if not member.isfile() or not name.endswith(IMAGE_SUFFIXES) or Path(name).name.startswith("._"):
                    continue
                image_id = f"{path}/{member.name}"
                if member.size > MAX_IMAGE_BYTES:
                    limit = f"{MAX_IMAGE_BYTES >> 20} MB"
                    yield NamedImage(image_id, b"", f"{image_id}: expected an image of at most {limit}")
                    continue
                file = tar.extractfile(member)
                assert file is not None, "a member that is a file"
                yield NamedImage(image_id, file.read())
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise DataError(f"{path}: tar file is broken or truncated ({error})") from error


def _tar_members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members in order. Their headers are not kept: a file may have millions."""
    for member in tar:
        yield member
        tar.members.clear()  # type: ignore[attr-defined] # the attribute exists in all versions and is not in the stub


class _StrictTarInfo(tarfile.TarInfo):
    """Headers of a tar file; tarfile itself takes a damaged or missing header for the end of the file."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        """Read the next header. Raises ReadError where there is neither a header nor the mark of the end."""
        try:
            return super().fromtarfile(tarfile)
        except _BROKEN_HEADERS as error:
            raise ReadError(str(error)) from error


def _file_images(files: Iterable[SourceFile]) -> Iterator[NamedImage]:
    """Image files in order. Those of stores are fetched ahead, several at a time."""
    with ThreadPoolExecutor(_FETCHES, "blitznet-fetch") as pool:
        waiting: deque[Future[NamedImage] | NamedImage] = deque()
        try:
            for file in files:
                is_remote = is_url(file.path)
                waiting.append(pool.submit(_fetch, file.path) if is_remote else _local(file.path))
                if len(waiting) == _FETCHED_AHEAD:
                    yield _result(waiting.popleft())
            while waiting:
                yield _result(waiting.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _local(path: str) -> NamedImage:
    return NamedImage(path, Path(path))


def _fetch(url: str) -> NamedImage:
    try:
        return NamedImage(url, fetch(url))
    except DataError as error:
        return NamedImage(url, b"", str(error))


def _result(item: Future[NamedImage] | NamedImage) -> NamedImage:
    return item.result() if isinstance(item, Future) else item
