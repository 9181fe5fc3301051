"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from blitznet.core.errors import BlitzNetError, UsageError


@contextmanager
def translate_write_errors(path: Path) -> Iterator[None]:
    """Tells a failure to write this file as a UsageError."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A file beside `path`, which takes its place at the end; until then, and for good after an error, that stays.

    Errors that name the one beside are told of `path`. Raises UsageError if it cannot be written.
    """
    # Opened by its own name: a temporary file would be readable by nobody else, whatever the umask says.
    fresh = path.with_name(f".{path.stem}.{token_hex(4)}{path.suffix}")
    try:
        yield fresh
        with translate_write_errors(path):
            fresh.replace(path)
    except BlitzNetError as error:
        if str(fresh) not in str(error):
            raise
        raise type(error)(str(error).replace(str(fresh), str(path))) from error
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there: whoever reads it, and whoever is killed, sees it whole.

    Makes the folder. Raises UsageError if it cannot be written.
    """
    with translate_write_errors(path), atomic_path(path) as fresh:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
