"""Dataset: a list of Samples under one set of names; Listed is what the readers for files make."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import Boxes, Flags, Labels
from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource
from blitznet.core.sample import MaskSource, Sample

MAX_SIDE = 1e6
"""a coordinate beyond this is no pixel but a broken file"""


class Dataset(Protocol):
    """Images with their truth; the labels of every sample index `names`."""

    @property
    def title(self) -> str:
        """The set as the user typed it, or its path."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """(K,) class names."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """One for each sample, unique within the set."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


class UnknownClassError(DataError):
    """An object's class is not one of the set's names."""


class Annotation(NamedTuple):
    """One object as a reader found it."""

    box: tuple[float, float, float, float]
    """x1 y1 x2 y2: pixels, continuous, 0-based (YOLO: fractions)"""
    label: int
    difficult: bool = False
    crowd: bool = False


class JaggedArray(NamedTuple):
    """Many short arrays in one, so that millions of them cost few Python objects."""

    values: NDArray[np.generic]
    starts: NDArray[np.int64]
    """(N + 1,) where each begins"""

    def row(self, index: int) -> NDArray[np.generic]:
        """The array of one index, a view."""
        return self.values[self.starts[index] : self.starts[index + 1]]


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """The objects of all images of a set, in flat arrays: light to hold and to send to workers."""

    starts: NDArray[np.int64]
    """(N + 1,) the first object of each image"""
    boxes: Boxes
    labels: Labels
    difficult: Flags
    crowd: Flags

    @classmethod
    def pack(cls, images: Iterable[Sequence[Annotation]]) -> "Objects":
        """Flat arrays from the rows of each image."""
        counts = [0]
        rows: list[Annotation] = []
        for found in images:
            rows.extend(found)
            counts.append(len(rows))
        return cls(
            starts=np.asarray(counts, np.int64),
            boxes=np.asarray([row.box for row in rows], np.float32).reshape(-1, 4),
            labels=np.asarray([row.label for row in rows], np.int64),
            difficult=np.asarray([row.difficult for row in rows], np.bool_),
            crowd=np.asarray([row.crowd for row in rows], np.bool_),
        )

    def span(self, index: int) -> slice:
        """Where the objects of one image lie in the flat arrays."""
        return slice(int(self.starts[index]), int(self.starts[index + 1]))


@dataclass(frozen=True, eq=False)
class IndexedDataset:
    """A Dataset of files whose annotations were all read when it was opened.

    What could not be read is kept in `errors` by index, and raised when that sample is asked for.
    """

    title: str
    class_names: tuple[str, ...]
    ids: tuple[str, ...]
    images: tuple[str, ...]
    """one path for each sample"""
    objects: Objects | None
    """None: no boxes were annotated"""
    errors: Mapping[int, DataError]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        at = range(len(self))[index]
        if at in self.errors:
            raise self.errors[at]
        image = ImageSource(self.images[at])
        objects = Objects.pack([()]) if self.objects is None else self.objects
        span = slice(0) if self.objects is None else objects.span(at)
        scale = self._scale(image)
        mask = self._mask(at, image)
        return Sample(
            id=self.ids[at],
            image=image,
            boxes=objects.boxes[span] * scale,
            labels=objects.labels[span],
            difficult=objects.difficult[span],
            crowd=objects.crowd[span],
            annotated_box_classes=np.full(len(self.class_names), self.objects is not None),
            annotated_mask_classes=np.full(len(self.class_names), mask is not None),
            mask=mask,
        )

    def _scale(self, image: ImageSource) -> NDArray[np.float32]:  # noqa: ARG002 - used where boxes are fractions
        """(4,) what brings the stored boxes to pixels."""
        return np.ones(4, np.float32)

    def _mask(self, index: int, image: ImageSource) -> MaskSource | None:  # noqa: ARG002 - for sets with masks
        """The class map of one sample; None where no mask was annotated."""
        return None


def require_no_errors(dataset: Dataset) -> None:
    """Refuse a set some of whose annotations could not be read: before an epoch, not in it."""
    errors = dataset.errors if isinstance(dataset, IndexedDataset) else {}
    for error in errors.values():
        more = f" (and {len(errors) - 1} more; `blitznet data check` lists them)" if len(errors) > 1 else ""
        raise DataError(f"{error}{more}") from error


def read_text(path: Path, *, limit: int) -> str:
    """The text of a file of at most `limit` bytes; larger, missing or not UTF-8: a DataError."""
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > limit:
        raise DataError(f"{path}: more than {limit:,} bytes, which no file of this kind has")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8 text; save it as UTF-8") from error


def read_names(path: Path) -> tuple[str, ...]:
    """Class names from a text file, one a line; empty lines are left out."""
    names = tuple(line.strip() for line in read_text(path, limit=1 << 20).splitlines() if line.strip())
    if not names:
        raise DataError(f"{path}: expected one class name a line, got an empty file")
    if len(set(names)) < len(names):
        raise DataError(f"{path}: expected every class name once; remove the repeated ones")
    return names


def named_files(folder: Path, suffixes: Iterable[str]) -> dict[str, list[Path]]:
    """The files under a folder: path relative to it, without suffix -> all files of that name, in order of name."""
    expected = frozenset(suffixes)
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in expected) if folder.is_dir() else []
    named: dict[str, list[Path]] = {}
    for path in found:
        named.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(path)
    return named


def image_paths(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """The images under a folder: path relative to it, without suffix -> file, in order of name."""
    return {name: only_image(files) for name, files in named_files(folder, suffixes).items()}


def only_image(files: Sequence[Path]) -> Path:
    """The one image of a name; raises DataError where there are several, for all but one would be lost."""
    first, *others = sorted(files)
    if others:
        raise DataError(
            f"{first}: {others[0].name} beside it has the same name but for the suffix, by which a set knows its "
            "images; rename or remove one"
        )
    return first
