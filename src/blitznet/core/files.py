"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from blitznet.core.errors import UsageError


@contextmanager
def kept_if_good(path: Path) -> Iterator[Path]:
    """A file beside `path`, which takes its place at the end; until then, and for good after an error, that stays."""
    fresh = path.with_name(f".{path.stem}.{token_hex(4)}{path.suffix}")
    try:
        yield fresh
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there: whoever reads it, and whoever is killed, sees it whole.

    Makes the folder. Raises UsageError if it cannot be written.
    """
    # Opened by its own name: a temporary file would be readable by nobody else, whatever the umask says.
    fresh = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with fresh.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error})") from error
