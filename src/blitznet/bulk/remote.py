"""Files behind URLs such as `s3://`, `gs://` and `https://`. The only file that imports fsspec."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any

from blitznet.core.errors import DataError, MissingExtra, UsageError

MAX_IMAGE_BYTES = 1 << 28
"""bytes above which an image file is not read into memory"""
_HTTP_SECONDS = 60
"""limit of one HTTP request"""
_HTTP = ("http", "https")
_NO_IMAGE = (FileNotFoundError, PermissionError, IsADirectoryError)
"""errors of a store that stand for one object; others, such as a lost connection, concern the whole store"""

Entry = tuple[str, str, bool]
"""URL, version, and whether it is a folder"""


def is_url(path: str) -> bool:
    """Whether a path is a URL that fsspec opens."""
    return "://" in path


def normal_url(url: str) -> str:
    """A folder's URL in the form that is equal for all ways to write it. Raises as `remote_entry`."""
    file_system, path = _open_url(url)
    return str(file_system.unstrip_protocol(path.rstrip("/")))


def remote_entry(url: str) -> Entry:
    """The file or folder behind a URL.

    Raises:
        DataError: There is none, or it cannot be read.
        MissingExtra: fsspec is not installed.
        UsageError: The package for this kind of URL is not installed.
    """
    file_system, path = _open_url(url)
    with _translate_errors(url):
        if _protocol(url) in _HTTP and not url.endswith("/"):
            return url, "", False  # a server need not answer a request for the properties
        info = file_system.info(path)
    return url.rstrip("/"), _version(info), info.get("type") == "directory"


def list_remote(url: str) -> Iterator[Entry]:
    """The entries directly in a folder, sorted by name. Raises as `remote_entry`."""
    file_system, path = _open_url(url)
    with _translate_errors(url):
        entries = file_system.ls(path, detail=True)
    yield from _entries(file_system, sorted(entries, key=lambda info: str(info["name"])), path)


def match_remote(url: str) -> Iterator[Entry]:
    """The entries that match a glob, sorted by name. Raises as `remote_entry`."""
    file_system, path = _open_url(url)
    with _translate_errors(url):
        matches = file_system.glob(path, detail=True)
    yield from _entries(file_system, [matches[name] for name in sorted(matches)], path)


@contextmanager
def open_remote(url: str) -> Iterator[IO[bytes]]:
    """Open a file for reading, a part at a time. Raises as `remote_entry`."""
    file_system, path = _open_url(url)
    with _translate_errors(url), file_system.open(path, "rb") as file:
        yield file


def fetch(url: str) -> bytes:
    """The bytes of one image.

    Raises:
        DataError: There is no such object, it may not be read, or it is too large.
        UsageError: The store cannot be reached.
    """
    file_system, path = _open_url(url)
    is_http = _protocol(url) in _HTTP
    try:
        if is_http:  # as a stream, because a server may not state the size, or state a wrong one
            with file_system.open(path, "rb", block_size=0) as file:
                content: bytes = file.read(MAX_IMAGE_BYTES + 1)
        else:
            content = file_system.cat_file(path)
    except _NO_IMAGE as error:
        raise DataError(f"{url}: cannot be read ({_reason(error)})") from error
    except Exception as error:  # each store has errors of its own
        if is_http:
            raise DataError(f"{url}: cannot be read ({_reason(error)})") from error
        raise UsageError(
            f"{url}: cannot be read ({_reason(error)}); run the command again to continue when the store is back"
        ) from error
    if len(content) > MAX_IMAGE_BYTES:
        raise DataError(f"{url}: expected an image of at most {MAX_IMAGE_BYTES >> 20} MB, got a larger file")
    return content


def names_in(url: str) -> set[str]:
    """Names of the files directly in an output folder; none if it does not exist yet. Raises as `remote_entry`."""
    file_system, path = _open_url(url)
    with _translate_errors(url):
        file_system.invalidate_cache()
        try:
            return {str(name).rpartition("/")[2] for name in file_system.ls(path, detail=False)}
        except FileNotFoundError:
            return set()


def upload(local: Path, url: str) -> None:
    """Put a file under a URL; object stores show it when it is complete. Raises UsageError if it cannot be written."""
    file_system, path = _open_url(url)
    try:
        file_system.put_file(str(local), path)
    except Exception as error:  # each store has errors of its own
        raise UsageError(f"{url}: cannot be written ({_reason(error)})") from error


def delete_remote(url: str) -> None:
    """Delete a file. Raises UsageError if it cannot be deleted."""
    file_system, path = _open_url(url)
    try:
        file_system.rm_file(path)
    except Exception as error:  # each store has errors of its own
        raise UsageError(f"{url}: cannot be deleted ({_reason(error)})") from error


def _open_url(url: str) -> tuple[Any, str]:
    """The file system of a URL, and its path there."""
    file_system = _file_system(_protocol(url))
    return file_system, str(file_system._strip_protocol(url))


def _protocol(url: str) -> str:
    return url.partition("://")[0].lower()


@cache
def _file_system(protocol: str) -> Any:
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtra(f"{protocol}:// URLs: reading them", "batch") from error
    try:
        if protocol in _HTTP:
            from aiohttp import ClientTimeout

            return fsspec.filesystem(protocol, client_kwargs={"timeout": ClientTimeout(total=_HTTP_SECONDS)})
        return fsspec.filesystem(protocol)
    except ValueError as error:
        raise UsageError(f"{protocol}://: expected a kind of URL that fsspec opens, got an unknown one") from error
    except ImportError as error:
        raise UsageError(f"{protocol}:// URLs: expected the package that opens them ({_reason(error)})") from error


@contextmanager
def _translate_errors(url: str) -> Iterator[None]:
    try:
        yield
    except (DataError, UsageError):
        raise
    except Exception as error:  # each store has errors of its own
        raise DataError(f"{url}: cannot be opened ({_reason(error)})") from error


def _reason(error: BaseException) -> str:
    """An error in a few words, without line breaks."""
    code = getattr(error, "errno", None)
    text = " ".join(str(error).split())[:200] or type(error).__name__
    return "there is no such file" if isinstance(error, FileNotFoundError) or code == errno.ENOENT else text


def _entries(file_system: Any, infos: list[Any], folder: str) -> Iterator[Entry]:
    for info in infos:
        name = str(info["name"]).rstrip("/")
        if name != folder.rstrip("/"):  # some stores list the folder itself
            yield str(file_system.unstrip_protocol(name)), _version(info), info.get("type") == "directory"


def _version(info: Any) -> str:
    """The entity tag of an object, or its size and time of change, as far as the store states them."""
    keys = ("ETag", "etag", "md5Hash", "LastModified", "updated", "mtime", "created")
    tag = next((str(info[key]) for key in keys if info.get(key)), "")
    return f"{info.get('size', '')}-{tag}".strip('"')
