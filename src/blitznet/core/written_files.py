"""Which existing files the package wrote itself, so that it replaces no others.

The names, sizes and times of written files are kept in the user's cache folder, one list for each folder. A file that
was changed, moved or copied since, or whose list was deleted, counts as the user's own. A model file with a spec is
always one of the package's.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from blitznet.core.errors import UsageError

_MAX_LISTS = 2000
"""lists that are kept; those beyond it that were not used for the longest time are deleted"""
_SPEC_MARKS = {
    ".safetensors": b'"blitznet":',
    ".onnx": b"blitznet",
    ".openvino": b"spec.json",
    ".pt2": b"extra/blitznet",
}
"""suffix of a model file -> bytes that its metadata contains if the package wrote it"""
_MARK_BYTES = 1 << 20
"""bytes at the start and at the end of a model file that are searched"""


def record_written(*paths: Path) -> None:
    """Remember files that the package wrote just now. Does nothing if the cache folder cannot be written."""
    record_moves({path: path for path in paths})


def record_moves(moves: Mapping[Path, Path]) -> None:
    """Remember files that are about to get their final names, so that no kill comes between the move and the record.

    Args:
        moves: Final path -> the file, on the same disk.
    """
    by_folder: dict[Path, list[str]] = {}
    for target, path in moves.items():
        with suppress(OSError):
            identity = (target.name, *_identity(path)[1:])
            by_folder.setdefault(target.parent.resolve(), []).append(json.dumps(identity) + "\n")
    for folder, lines in by_folder.items():
        with suppress(OSError, RuntimeError), _list_of(folder).open("a", encoding="utf-8") as stream:
            stream.write("".join(lines))


class WrittenFiles:
    """The written files of each folder, read once."""

    def __init__(self) -> None:
        self._by_folder: dict[Path, set[tuple[str, int, int]]] = {}

    def has(self, path: Path) -> bool:
        """Whether the package wrote an existing file, and nothing changed it since."""
        folder = path.parent.resolve()
        if folder not in self._by_folder:
            self._by_folder[folder] = set(_read(folder))
        return _identity(path) in self._by_folder[folder] or _contains_spec(path)


def require_replaceable(paths: Iterable[Path], *, overwrite: bool, advice: str = "choose another") -> None:
    """Check that files may be written: they do not exist, or the package wrote them, or the user wants it.

    Devices and pipes may always be written.

    Args:
        paths: Files to write.
        overwrite: Whether files of the user may be replaced.
        advice: What else the user can do, for the error.

    Raises:
        UsageError: A file exists that the package did not write.
    """
    if overwrite:
        return
    written = WrittenFiles()
    for path in paths:
        is_link = path.is_symlink() and (path.is_dir() or not path.exists())  # not to a device, as /dev/stdout is
        if (path.is_file() or is_link) and not written.has(path):
            raise UsageError(
                f"{path}: expected a new file, or one that blitznet wrote, got another file; {advice}, or replace it "
                "with --overwrite"
            )


def _identity(path: Path) -> tuple[str, int, int]:
    """Name, size and time of a file, or of a link itself."""
    status = path.lstat()
    return path.name, status.st_size, status.st_mtime_ns


def _contains_spec(path: Path) -> bool:
    mark = _SPEC_MARKS.get(path.suffix)
    if mark is None:
        return False
    with suppress(OSError), path.open("rb") as stream:
        start = stream.read(_MARK_BYTES)
        stream.seek(max(0, path.stat().st_size - _MARK_BYTES))
        return mark in start or mark in stream.read()
    return False


def _read(folder: Path) -> Iterator[tuple[str, int, int]]:
    with suppress(OSError, ValueError, TypeError), _list_of(folder).open(encoding="utf-8") as stream:
        for line in stream:
            name, size, time = json.loads(line)
            yield name, size, time


def _list_of(folder: Path) -> Path:
    """The list of a folder's written files."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "blitznet" / "written"
    if not base.is_dir():
        base.mkdir(parents=True, exist_ok=True)
    path = base / sha256(os.fsencode(folder)).hexdigest()[:24]
    if not path.exists():
        _delete_oldest_lists(base)
    return path


def _delete_oldest_lists(base: Path) -> None:
    lists = sorted(base.iterdir(), key=lambda path: -path.stat().st_mtime)
    for path in lists[_MAX_LISTS:]:
        path.unlink(missing_ok=True)
