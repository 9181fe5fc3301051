"""Output files of commands; an error of writing one is a UsageError of one line."""

import errno
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from blitznet.core.errors import UsageError
from blitznet.core.files import atomic_write, translate_write_errors
from blitznet.core.written_files import record_written, require_replaceable

STDOUT = (Path("-"), Path("/dev/stdout"))
"""names of files that are written to stdout; what the command prints then goes to stderr"""


def make_folders(*folders: Path) -> None:
    """Create folders that do not exist, and check that files can be created in them, before the work starts."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise UsageError(
                f"{folder}: expected a writable output folder, got '{error.strerror}'; choose another"
            ) from error


def prepare_files(*paths: Path | None, overwrite: bool, inputs: Iterable[Path] = ()) -> None:
    """Check output files and create their folders before the work starts, so that a wrong path is an error at once.

    Args:
        paths: The files; None for those that are not written. Those of `STDOUT` are not checked.
        overwrite: Whether files that the package did not write are replaced.
        inputs: Files that the command reads, which are never replaced.
    """
    files = [path for path in paths if path is not None and path not in STDOUT]
    for path in files:
        if path.is_dir():
            raise UsageError(f"{path}: expected a file to write, got a folder")
        if path.is_file() and any(path.samefile(file) for file in inputs if file.exists()):
            raise UsageError(f"{path}: expected a new file, got one that the command reads; choose another")
    if len({path.absolute() for path in files}) < len(files):
        raise UsageError(f"{', '.join(map(str, files))}: expected different files, got one twice")
    require_replaceable(files, overwrite=overwrite)
    make_folders(*(path.parent for path in files if path.is_file() or not path.exists()))  # not those of devices


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file completely or not at all; a device or a pipe such as /dev/stdout is written to directly."""
    if path in STDOUT:
        if sys.__stdout__ is None:
            raise UsageError(f"{path}: expected an open stdout, got a closed one; name a file")
        sys.__stdout__.buffer.write(content)
        sys.__stdout__.buffer.flush()
    elif path.exists() and not path.is_file():
        with translate_write_errors(path):
            path.write_bytes(content)
    else:
        atomic_write(path, content)
        record_written(path)


def write_json(path: Path, value: Any) -> None:
    """Write plain values as indented JSON, as `write_bytes`."""
    write_bytes(path, (json.dumps(value, indent=1) + "\n").encode())
