"""Model files that are published with the code: where they are installed, and whether their bytes are those published.

Files for inference are in this package. Training weights are in the distribution `blitznet-weights`, and in a clone of
the repository in the folder `weights`. `SHA256SUMS`, in this package, lists both; `tools/weights_hashes.py` writes it.
"""

import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from blitznet.core.errors import ModelError

WEIGHTS = Path(__file__).parents[1] / "weights"
"""folder of the files for inference, of the sample images and of the list of hashes"""
CLONE = Path(__file__).parents[3] / "weights" / "src" / "blitznet_weights"
"""folder of the training weights in a clone; there is none where the package is installed"""
HASHES = "SHA256SUMS"
"""name of the list: a line `HASH  NAME` for each file, as `sha256sum` writes and checks it"""
_MODULE = "blitznet_weights"
"""module of the distribution with the training weights; it is found, but never imported"""


def packaged_file(name: str) -> Path:
    """The path of a published file whose bytes are those of the list.

    Args:
        name: Name of the file, `blitznet300-lite.onnx` for example.

    Raises:
        ModelError: The file is not in the list or not installed, or differs from the one published.
    """
    expected = packaged_hashes().get(name)
    if expected is None:
        raise ModelError(f"{name}: expected a file of the package, got a name that {WEIGHTS / HASHES} does not list")
    path = next((folder / name for folder in _folders() if (folder / name).is_file()), None)
    if path is None:
        raise ModelError(f"{name}: expected {_missing(name)}")
    actual = sha256_of(path)
    if actual != expected:
        raise ModelError(
            f"{path}: expected the published file with sha256 {expected[:16]}..., got {actual[:16]}...; it was "
            "changed, or is of another version: `pip install --force-reinstall --no-deps blitznet blitznet-weights`"
        )
    return path


def packaged_hashes() -> dict[str, str]:
    """Name and SHA-256 of each published model file.

    Raises:
        ModelError: The list is missing or damaged.
    """
    path = WEIGHTS / HASHES
    try:
        lines = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
        return {name: digest for digest, name in lines}
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path}: expected the hashes of the package's files, got none; install blitznet again"
        ) from error


def hash_list(paths: Iterable[Path]) -> str:
    """The text of a list of these files, sorted by name."""
    return "".join(f"{sha256_of(path)}  {path.name}\n" for path in sorted(paths, key=lambda path: path.name))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal; a file that did not change is read once in a process.

    Raises:
        ModelError: The file cannot be read.
    """
    try:
        status = path.stat()
        return _read_sha256(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error


@lru_cache(maxsize=32)
def _read_sha256(path: Path, size: int, modified: int) -> str:  # noqa: ARG001 - they are the key of the cache
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folders() -> Iterator[Path]:
    """Folders that may contain published files; a clone's own files come before installed ones."""
    yield WEIGHTS
    yield CLONE
    spec = find_spec(_MODULE)
    if spec is not None:
        yield from map(Path, spec.submodule_search_locations or ())


def _missing(name: str) -> str:
    if name.endswith(".safetensors"):
        return (
            "the training weights, which are a package of their own, got none; `pip install blitznet-weights`, "
            "in a clone `pip install ./weights`"
        )
    return "this file in the package, got none; install blitznet again"
