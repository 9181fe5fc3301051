"""The folder of parts, on this machine or in an object store. A file appears under its name when it is complete."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from blitznet.bulk.remote import delete_remote, is_url, names_in, open_remote, upload
from blitznet.core.errors import DataError, UsageError
from blitznet.core.files import atomic_path, translate_write_errors

MANIFEST = "_manifest.json"
"""file that lists the parts of the last run; readers of Parquet folders skip names with an underscore"""
PART = re.compile(r"part-(?P<index>\d{6,})-(?P<run>[0-9a-f]{12})-[0-9a-f]{12}\.parquet")
"""names of parts"""
_LEFTOVER = re.compile(r"\.(part-[-0-9a-f]+|_manifest)\.[0-9a-f]{8}\.(parquet|json)")
"""temporary files of `atomic_path` for parts and manifests"""


@dataclass(frozen=True, slots=True)
class PartStore:
    """Reads and writes files in the output folder."""

    folder: str
    """path or URL"""

    def names(self) -> set[str]:
        """Names of all files in the folder. Raises DataError if it cannot be read."""
        if is_url(self.folder):
            return names_in(self.folder)
        try:
            return {path.name for path in Path(self.folder).iterdir()}
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise DataError(f"{self.folder}: cannot be read ({error.strerror or error})") from error

    @contextmanager
    def opened(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file for reading. Raises DataError if it cannot be read."""
        if is_url(self.folder):
            with open_remote(self._path(name)) as remote:
                yield remote
            return
        try:
            with Path(self._path(name)).open("rb") as file:
                yield file
        except OSError as error:
            raise DataError(f"{self._path(name)}: cannot be read ({error.strerror or error})") from error

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A temporary path, whose file gets its name when the block ends without an error.

        Raises:
            UsageError: The file cannot be written.
        """
        if not is_url(self.folder):
            path = Path(self._path(name))
            with atomic_path(path) as temporary, translate_write_errors(path):
                yield temporary
            return
        with tempfile.TemporaryDirectory(prefix="blitznet-") as folder:
            yield Path(folder) / name
            upload(Path(folder) / name, self._path(name))

    def delete(self, name: str) -> None:
        """Delete a file. Raises UsageError if it cannot be deleted."""
        if is_url(self.folder):
            delete_remote(self._path(name))
            return
        with translate_write_errors(Path(self._path(name))):
            Path(self._path(name)).unlink(missing_ok=True)

    def delete_leftovers(self) -> None:
        """Delete the temporary files of runs that were killed; call it while the folder is locked."""
        if is_url(self.folder):
            return
        for name in self.names():
            if _LEFTOVER.fullmatch(name):
                with suppress(OSError):
                    Path(self._path(name)).unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create the folder, and keep other runs on this machine from writing to it.

        Raises:
            UsageError: The folder cannot be written, or another run writes to it.
        """
        if is_url(self.folder):
            yield
            return
        path = Path(self.folder)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise UsageError(f"{path}: expected a writable output folder, got '{reason}'; choose another") from error
        with _folder_lock(path):
            yield

    def _path(self, name: str) -> str:
        return f"{self.folder.rstrip('/')}/{name}"


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """An exclusive lock on a folder, which ends with the process, however that ends."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"{folder}: expected a folder that no other run writes to; wait for that run or choose another folder"
            ) from error
        except OSError:  # a file system without locks: parts are written whole all the same
            pass
        yield
    finally:
        os.close(descriptor)
