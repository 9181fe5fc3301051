"""Which images a user means: files, folders, globs, or none for the samples in the package."""

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path

from blitznet.core.errors import DataError
from blitznet.core.image import SUFFIXES

SAMPLES = Path(__file__).parents[1] / "weights" / "samples"
"""photographs in the public domain that come with the package; CREDITS.md there names their authors"""


def find_images(sources: Sequence[str | Path] = ()) -> list[Path]:
    """The files behind `sources`, each once, in the order given, the samples if there are none.

    A folder stands for the images directly in it, sorted by name; a glob (`shots/**/*.jpg`) for the images
    it matches, sorted. Raises DataError for a source behind which there is no image.
    """
    found = [image for source in sources or (SAMPLES,) for image in _expand(source)]
    return list(dict.fromkeys(found))


def _expand(source: str | Path) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        return _in_folder(path)
    if path.exists() or not glob.has_magic(str(source)):
        if not path.exists():
            raise DataError(f"{source}: there is no such file or folder")
        return [path]
    found = _images(Path(name) for name in glob.glob(str(source), recursive=True))  # noqa: PTH207 - Path's needs a root
    if not found:
        raise DataError(f"{source}: no image matches ({', '.join(SUFFIXES)})")
    return found


def _in_folder(folder: Path) -> list[Path]:
    found = _images(folder.iterdir())
    if not found:
        raise DataError(
            f"{folder}: there is no image in this folder ({', '.join(SUFFIXES)}); "
            f"folders inside it are not searched, name them or write '{folder / '**' / '*.jpg'}'"
        )
    return found


def _images(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file())
