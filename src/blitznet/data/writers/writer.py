"""DatasetWriter: the protocol of all dataset writers, and helpers that they share."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from blitznet.core.arrays import Flags
from blitznet.core.errors import DataError, UsageError
from blitznet.core.sample import Sample
from blitznet.data.masks import MaskObject, RasterizedMask


class DatasetWriter(Protocol):
    """Writes one split of a dataset in one format."""

    root: Path
    """folder of the dataset; existing files of other splits are read from it"""
    folder: Path
    """folder to write to: `root`, or one whose files are moved to it when all are complete"""
    link: bool
    """whether to link to images instead of copying them"""

    def unsupported(self, sample: Sample) -> Iterator[str]:
        """What the format cannot represent of a sample; equal texts for equal reasons, so that they can be counted."""
        ...

    def add(self, sample: Sample, image: Path) -> None:
        """Write a sample's annotations, and a copy of its image file."""
        ...

    def lists(self) -> tuple[str, ...]:
        """Paths below the folder of the files that list this split, and no other."""
        ...

    def close(self) -> None:
        """Write the files that exist once per split."""
        ...


def object_outlines(sample: Sample) -> tuple[MaskObject | None, ...]:
    """(M,) the outline of each object; None for an object without one."""
    if not isinstance(sample.mask, RasterizedMask):
        return (None,) * len(sample.labels)
    return tuple(item if item.polygons or item.runs is not None else None for item in sample.mask.objects)


def is_partial(annotated: Flags) -> bool:
    """Whether some classes (K,) of an image are annotated, and others are not."""
    return bool(annotated.any() and not annotated.all())


def flat_name(name: str) -> str:
    """A sample's id as a file name without folders."""
    return name.replace("/", "_")


class ImageTarget(Protocol):
    """Where a writer puts images."""

    root: Path
    folder: Path
    link: bool


def copy_image(image: Path, writer: ImageTarget, name: str) -> None:
    """Copy an image file unchanged into a writer's folder, or link to it.

    Args:
        image: The file.
        writer: Has the folder, and the one that its files will be in.
        name: Path below the folder.

    Raises:
        DataError: The image does not exist.
        UsageError: The target cannot be written, or is the image itself.
    """
    target, final = writer.folder / name, writer.root / name
    if not image.is_file():
        raise DataError(f"{image}: expected an image, got a path that does not exist")
    if _would_overwrite(image, final):
        raise UsageError(f"{final}: expected a new file, got the image itself; choose another --out")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_symlink() or target.exists():
            target.unlink()
        if writer.link:
            target.symlink_to(os.path.relpath(image.resolve(), final.parent.resolve()))
        else:
            shutil.copyfile(image, target)
    except OSError as error:
        raise UsageError(f"{target}: cannot be written ({error.strerror or error})") from error


def _would_overwrite(image: Path, target: Path) -> bool:
    """Whether `target` is the image file itself; a link to it from an earlier run may be replaced."""
    same_path = target.parent.resolve() / target.name == image.parent.resolve() / image.name
    return same_path or (target.exists() and not target.is_symlink() and target.samefile(image))


def require_same_classes(path: Path, existing: tuple[str, ...], class_names: tuple[str, ...]) -> None:
    """Refuse to add a split to a dataset with other classes; `path` is the file that lists the existing ones."""
    if existing != class_names:
        raise UsageError(
            f"{path}: expected the classes {', '.join(class_names[:8])}, got {', '.join(existing[:8])} from another "
            "split; choose another --out"
        )
