"""Atomic writes: a file is complete under its name, or unchanged."""

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from blitznet.core.errors import BlitzNetError, UsageError

_MAX_STEM = 40
"""characters of a file's name in that of its temporary file, which may not be longer than the file system allows"""


def require_file(path: str | os.PathLike[str]) -> None:
    """Refuse a pipe, a device or a socket, before it is opened: it could be waited for, or read, without end.

    Raises:
        OSError: The path is one of these, or does not exist.
    """
    mode = Path(path).stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "expected a file, got a pipe or a device", str(path))


def read_at_most(path: Path, limit: int) -> bytes:
    """The content of a file, at most `limit` + 1 bytes of it.

    Raises:
        OSError: The file cannot be read, or is a pipe or a device.
    """
    require_file(path)
    with path.open("rb") as file:
        return file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)


@contextmanager
def translate_write_errors(path: Path) -> Iterator[None]:
    """Raise an OSError in the block as a UsageError that names `path`."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def atomic_path(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary path in the same folder; its file replaces `path` when the block ends.

    After an error the temporary file is deleted and `path` is unchanged. A BlitzNetError whose message names the
    temporary path is raised again with `path` in its place. Missing parent folders are created.

    Args:
        path: The file.
        durable: Wait until the content is on the disk, so that it also survives a power failure.

    Raises:
        UsageError: The file cannot be written.
    """
    # Not tempfile: its files are readable by their owner only, whatever the umask.
    temporary = path.with_name(f".{path.stem[:_MAX_STEM]}.{token_hex(4)}{path.suffix}")
    try:
        with translate_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with translate_write_errors(path):
            if durable:
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())  # otherwise a power failure may leave an empty file under the final name
            temporary.replace(path)
    except BlitzNetError as error:
        if str(temporary) not in str(error):
            raise
        raise type(error)(str(error).replace(str(temporary), str(path))) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_group(*paths: Path) -> Iterator[Path]:
    """A temporary folder; what it contains under the names of `paths` replaces these together when the block ends.

    The first path is removed before the others are replaced, and appears last. So where it exists the others belong to
    it, also after a kill. After an error the temporary folder is deleted, and the files are those of before. A
    BlitzNetError whose message names a path in it is raised again with the final path. Missing parent folders are
    created.

    Args:
        paths: Files or folders in one folder; the first is the one that is opened by name.

    Raises:
        UsageError: A file cannot be written.
    """
    first, names = paths[0], [path.name for path in paths]
    temporary = first.with_name(f".{first.stem[:_MAX_STEM]}.{token_hex(4)}")
    try:
        with translate_write_errors(first):
            temporary.mkdir(parents=True)
        yield temporary
        with translate_write_errors(first):
            for file in [path for path in temporary.rglob("*") if path.is_file()]:
                with file.open("rb+") as stream:
                    os.fsync(stream.fileno())
            replaced = temporary / token_hex(4)
            replaced.mkdir()
            removed, placed = [], []
            try:
                for path in paths:
                    if os.path.lexists(path):
                        path.rename(replaced / path.name)
                        removed.append(path)
                for name in reversed(names):
                    (temporary / name).rename(first.with_name(name))
                    placed.append(first.with_name(name))
            except OSError:
                for path in placed:
                    path.rename(temporary / path.name)
                for path in removed:
                    (replaced / path.name).rename(path)
                raise
    except BlitzNetError as error:
        message = str(error)
        for name in names:
            message = message.replace(str(temporary / name), str(first.with_name(name)))
        if message == str(error):
            raise
        raise type(error)(message) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def atomic_write(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file completely or, after an error or a kill, not at all.

    Args:
        path: The file. Missing parent folders are created.
        content: All of its bytes.
        durable: As in `atomic_path`.

    Raises:
        UsageError: The file cannot be written.
    """
    with atomic_path(path, durable=durable) as temporary, translate_write_errors(path):
        temporary.write_bytes(content)


def delete_leftovers(folder: Path, names: Iterable[str]) -> None:
    """Delete the temporary files that killed processes left in a folder to which no other process writes.

    Args:
        folder: The folder.
        names: Names of the files whose temporary files are deleted; files of safetensors' own (`.tmp...`) also are.
    """
    parts = (
        f"{re.escape(Path(name).stem[:_MAX_STEM])}[.][0-9a-f]{{8}}{re.escape(Path(name).suffix)}" for name in names
    )
    pattern = re.compile(rf"[.]({'|'.join(parts)}|tmp\w{{6}})")
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if pattern.fullmatch(path.name) and path.is_file():
                path.unlink(missing_ok=True)
