"""What every format's writer is asked for, and what they share."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from blitznet.core.errors import DataError, UsageError
from blitznet.core.sample import Sample
from blitznet.data.masks import RasterizedMask, Shape


class Writer(Protocol):
    """Writes one split of a set in one format."""

    def losses(self, sample: Sample) -> Iterator[str]:
        """What of the sample's truth the format cannot hold, in words that are the same for all samples."""
        ...

    def add(self, sample: Sample, image: Path) -> None:
        """Write the truth of a sample; `image` is what it was copied from."""
        ...

    def close(self) -> None:
        """Write what is one file for the split."""
        ...


def shapes(sample: Sample) -> tuple[Shape | None, ...]:
    """(M,) the outline of each object, None where the set has none of it."""
    if not isinstance(sample.mask, RasterizedMask):
        return (None,) * len(sample.labels)
    return tuple(shape if shape.polygons or shape.runs is not None else None for shape in sample.mask.shapes)


def flat(name: str) -> str:
    """A sample's id as the name of a file: folders become part of it."""
    return name.replace("/", "_")


def place_image(image: Path, target: Path, *, link: bool) -> None:
    """Copy a image as it is, or link to it. Raises DataError where it is not there, UsageError where it cannot go."""
    if not image.is_file():
        raise DataError(f"{image}: there is no such image")
    if _itself(image, target):
        raise UsageError(f"{target}: is the image itself; give another --out than where the set lies")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_symlink() or target.exists():
            target.unlink()
        if link:
            target.symlink_to(os.path.relpath(image.resolve(), target.parent.resolve()))
        else:
            shutil.copyfile(image, target)
    except OSError as error:
        raise UsageError(f"{target}: cannot be written ({error.strerror or error})") from error


def _itself(image: Path, target: Path) -> bool:
    """Whether writing `target` would take the image away; a link to it that an earlier run left is no such file."""
    same_place = target.parent.resolve() / target.name == image.parent.resolve() / image.name
    return same_place or (target.exists() and not target.is_symlink() and target.samefile(image))


def require_same_names(path: Path, there: tuple[str, ...], names: tuple[str, ...]) -> None:
    """Raise UsageError where another split that is there already has other classes."""
    if there != names:
        raise UsageError(
            f"{path}: the set there has the classes {', '.join(there[:8])}, this one {', '.join(names[:8])}; "
            "give another --out"
        )
