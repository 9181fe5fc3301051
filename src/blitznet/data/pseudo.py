"""Class maps that a teacher painted, for images that have boxes and no mask.

A teacher is believed inside the boxes of what it sees, and where it sees nothing and no box is; where it and the
boxes disagree, pixels are void. Its class maps lie in a folder: `classes.txt`, one name a line, and one folder for
each set with ID.png, whose values are 0 background, line number, 255 void.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from blitznet.core.arrays import IGNORE_INDEX, ClassMap, Flags, Floats
from blitznet.core.classes import canonical
from blitznet.core.errors import DataError, UsageError
from blitznet.core.files import atomic_write
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample
from blitznet.data.dataset import Dataset
from blitznet.data.mapping import MappedDataset
from blitznet.data.masks import IndexMask, RemappedMask
from blitznet.data.sources import Source

NAMES = "classes.txt"
_SEEN = 0.15
"""of a box's pixels, that are of its class where the teacher has seen the object; bicycles fill little more"""

Teacher = Callable[[ImageSource], ClassMap]
"""a image -> its class map (H, W)"""


@dataclass(frozen=True, eq=False)
class PseudoMaskDataset:
    """A data set whose images without a mask have what a teacher painted."""

    base: MappedDataset
    folder: Path
    table: NDArray[np.uint8]
    """(256,) the teacher's values -> the data set's"""
    known: Flags
    """(K,) of the data set's classes, those that the teacher knows"""
    count: int
    """the teacher's values that name something"""

    @property
    def title(self) -> str:
        """The set as the user typed it."""
        return self.base.title

    @property
    def class_names(self) -> tuple[str, ...]:
        """(K,) class names."""
        return self.base.class_names

    @property
    def unmapped(self) -> tuple[str, ...]:
        """The set's names that are none of the model's and count as background."""
        return self.base.unmapped

    @property
    def ids(self) -> Sequence[str]:
        """One for each sample."""
        return self.base.ids

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, index: int) -> Sample:
        sample = self.base[index]
        path = _file(self.folder, sample)
        if sample.mask is not None or not path.is_file():
            return sample
        return replace(
            sample,
            mask=RemappedMask(IndexMask(str(path), self.count), self.table),
            annotated_mask_classes=self.known.copy(),
        )


def with_pseudo_masks(dataset: MappedDataset, source: Source, folder: Path) -> PseudoMaskDataset:
    """The data set with a teacher's class maps of `folder`; raises DataError where that is none."""
    listed = folder / NAMES
    if not listed.is_file():
        raise DataError(f"{folder}: expected a folder of a teacher's class maps, there is no {NAMES}")
    theirs = [canonical(name) for name in _names(listed)]
    ours = {canonical(name): value for value, name in enumerate(dataset.class_names, start=1)}
    table = np.full(256, IGNORE_INDEX, np.uint8)
    table[: len(theirs) + 1] = [0, *(ours.get(name, 0) for name in theirs)]
    known = np.asarray([canonical(name) in theirs for name in dataset.class_names])
    return PseudoMaskDataset(dataset, folder / set_folder(source), table, known, len(theirs) + 1)


def generate_pseudo_masks(teacher: Teacher, dataset: Dataset, source: Source, folder: Path) -> Iterator[bool]:
    """Have the teacher paint all images of a set that have boxes and no mask; tells of each whether it did.

    The teacher's values are the data set's labels + 1. What is there already stays.
    """
    place = folder / set_folder(source)
    _require_names(folder / NAMES, dataset.class_names)
    atomic_write(folder / NAMES, ("\n".join(dataset.class_names) + "\n").encode())
    for index in range(len(dataset)):
        sample = dataset[index]
        path = _file(place, sample)
        expected = sample.mask is None and bool(sample.annotated_box_classes.any()) and not path.is_file()
        if expected:
            png = BytesIO()
            Pillow.fromarray(agreed(teacher(sample.image), sample)).save(png, "PNG")
            atomic_write(path, png.getvalue())
        yield expected


def _require_names(listed: Path, names: Sequence[str]) -> None:
    """Raise UsageError where another teacher has painted, whose values stand for other classes."""
    if not listed.is_file():
        return
    there = _names(listed)
    if there != tuple(names):
        raise UsageError(
            f"{listed.parent}: painted for the classes {', '.join(there[:8])}, this teacher knows "
            f"{', '.join(names[:8])}; give another --out, or remove that folder"
        )


def _names(listed: Path) -> tuple[str, ...]:
    return tuple(name for name in listed.read_text(encoding="utf-8").split("\n") if name)


def agreed(seen: ClassMap, sample: Sample) -> ClassMap:
    """What a teacher's class map (H, W) and the boxes of a image say alike; the rest is void."""
    allowed, doubtful = np.zeros(seen.shape, np.bool_), np.zeros(seen.shape, np.bool_)
    for box, label, crowd in zip(sample.boxes, sample.labels, sample.crowd, strict=True):
        inside = _pixels(box, seen.shape)
        own = seen[inside] == label + 1
        if crowd or own.mean() < _SEEN:
            doubtful[inside] = True
        if not crowd:
            allowed[inside] |= own
    void = ((seen > 0) | doubtful) & ~allowed
    return np.where(void, np.uint8(IGNORE_INDEX), seen)


def _pixels(box: Floats, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The pixels of a map (H, W) inside a box x1 y1 x2 y2, at least one."""
    height, width = shape
    x1, y1 = (min(max(0, round(float(side))), most - 1) for side, most in zip(box[:2], (width, height), strict=True))
    x2, y2 = (round(float(side)) for side in box[2:])
    return slice(y1, max(y1 + 1, y2)), slice(x1, max(x1 + 1, x2))


def set_folder(source: Source) -> str:
    """Where a set's class maps lie in the teacher's folder: by its last two, for many are called `data`."""
    root = source.root.resolve()
    return "-".join(filter(None, (source.format, root.parent.name, root.name, source.split))).replace("/", "-")


def _file(folder: Path, sample: Sample) -> Path:
    return folder / f"{sample.id}.png"
