"""Output files of commands; an error of writing one is a UsageError of one line."""

import json
from pathlib import Path
from typing import Any

from blitznet.core.errors import UsageError
from blitznet.core.files import atomic_write, translate_write_errors


def make_folders(*folders: Path) -> None:
    """Create folders that do not exist."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{folder}: expected a writable output folder, got '{error.strerror}'; choose another"
            ) from error


def prepare_files(*paths: Path | None) -> None:
    """Create the folders of output files before the work starts, so that a wrong path is an error at once."""
    for path in paths:
        if path is None:
            continue
        if path.is_dir():
            raise UsageError(f"{path}: expected a file to write, got a folder")
        make_folders(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write plain values as indented JSON; a device or a pipe such as /dev/stdout is written to directly."""
    content = (json.dumps(value, indent=1) + "\n").encode()
    if path.exists() and not path.is_file():
        with translate_write_errors(path):
            path.write_bytes(content)
    else:
        atomic_write(path, content)
