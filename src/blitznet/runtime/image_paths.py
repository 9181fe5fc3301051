"""Image files from paths, folders and globs."""

import glob
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from blitznet.core.errors import DataError
from blitznet.core.image import IMAGE_SUFFIXES

_UNREADABLE_SUFFIXES = frozenset(
    (".avif", ".heic", ".heif", ".jxl", ".jp2", ".svg", ".ico", ".psd", ".tga", ".dng", ".cr2", ".nef", ".arw", ".raw")
)
SAMPLES = Path(__file__).parents[1] / "weights" / "samples"
"""public-domain photographs in the package; CREDITS.md there names their authors"""


def find_images(sources: Sequence[str | Path] = ()) -> list[Path]:
    """Expand sources to image files.

    Args:
        sources: Image files, folders (the images directly in them, sorted by name) and globs such as
            `images/**/*.jpg` (sorted). Default: the sample images in the package.

    Returns:
        Each file once, in the order of the sources.

    Raises:
        DataError: A source matches no image.
    """
    images = [image for source in sources or (SAMPLES,) for image in _expand(source)]
    return list(dict.fromkeys(images))


def skipped_images(sources: Sequence[str | Path]) -> Counter[str]:
    """Endings of images in folders that `find_images` skips, because their format cannot be read, with their number."""
    folders = [Path(source) for source in sources if str(source) and Path(source).is_dir()]
    suffixes = (path.suffix.lower() for folder in folders for path in folder.iterdir() if path.is_file())
    return Counter(suffix for suffix in suffixes if suffix in _UNREADABLE_SUFFIXES)


def _expand(source: str | Path) -> list[Path]:
    try:
        return _expand_existing(source)
    except OSError as error:
        raise DataError(f"{source}: cannot be opened ({error.strerror or error})") from error


def _expand_existing(source: str | Path) -> list[Path]:
    if not str(source):
        raise DataError("expected an image, a folder or a glob, got an empty name; an unset variable?")
    path = Path(source)
    if path.is_dir():
        return _images_in(path)
    if path.exists() or not glob.has_magic(str(source)):
        if not path.exists():
            raise DataError(f"{source}: expected an image, a folder or a glob, got a path that does not exist")
        if not path.is_file():
            raise DataError(f"{source}: expected a file, got a pipe or a device; save the image to a file first")
        return [path]
    images = _only_images(Path(name) for name in glob.glob(str(source), recursive=True))  # noqa: PTH207 - Path.glob needs a root
    if not images:
        raise DataError(f"{source}: expected a glob that matches images ({', '.join(IMAGE_SUFFIXES)}), got no match")
    return images


def _images_in(folder: Path) -> list[Path]:
    images = _only_images(folder.iterdir())
    if not images:
        raise DataError(
            f"{folder}: expected images in this folder ({', '.join(IMAGE_SUFFIXES)}), got none; "
            f"subfolders are not searched, name them or write '{folder / '**' / '*.jpg'}'"
        )
    return images


def _only_images(paths: Iterable[Path]) -> list[Path]:
    return sorted(
        path
        for path in paths
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("._") and path.is_file()
    )
