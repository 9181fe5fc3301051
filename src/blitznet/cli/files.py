"""Files that commands write; what goes wrong with them is a user's mistake, told in one line."""

import json
from pathlib import Path
from typing import Any

from blitznet.core.errors import UsageError
from blitznet.core.files import translate_write_errors


def make_folders(*folders: Path) -> None:
    """Make folders where they are not there yet."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{folder}: expected a folder to write to, but {error.strerror}; choose another"
            ) from error


def prepare_files(*paths: Path | None) -> None:
    """Make the folders of files that will be written at the end: a mistake shall not cost the work before it."""
    for path in paths:
        if path is None:
            continue
        if path.is_dir():
            raise UsageError(f"{path}: expected a file to write, got a folder")
        make_folders(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write plain values as readable JSON."""
    with translate_write_errors(path):
        path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
