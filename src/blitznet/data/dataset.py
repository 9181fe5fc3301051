"""IndexedDataset: the dataset that every reader builds; and helpers that readers share."""

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import Boxes, Flags, Labels
from blitznet.core.errors import DataError, shown
from blitznet.core.files import read_at_most
from blitznet.core.image import ImageSource
from blitznet.core.sample import Dataset, MaskSource, Sample
from blitznet.data.file_walk import composed, walk_files

MAX_COORDINATE = 1e6
"""pixels; a larger coordinate means a broken file"""


_UNSAFE_ID = re.compile(r"(^|/)\.{0,2}(/|$)")
_MAX_NAME = 200
"""characters of a class name, as in a model's spec"""


class UnknownClassError(DataError):
    """An object's class is not in the dataset's class names."""


class Annotation(NamedTuple):
    """One annotated object, as a reader parses it."""

    box: tuple[float, float, float, float]
    """x1 y1 x2 y2 in pixels, continuous, 0-based (YOLO: fractions of the image)"""
    label: int
    difficult: bool = False
    crowd: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class JaggedArray:
    """Many short arrays in one flat array: millions of rows need few Python objects."""

    values: NDArray[np.generic]
    offsets: NDArray[np.int64]
    """(N + 1,) start of each row in `values`"""

    def __getitem__(self, index: int) -> NDArray[np.generic]:
        """One row, as a view."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]


@dataclass(frozen=True, slots=True, eq=False)
class AnnotationArrays:
    """The annotations of all images of a dataset in flat arrays: cheap to hold and to send to workers."""

    offsets: NDArray[np.int64]
    """(N + 1,) index of the first object of each image"""
    boxes: Boxes
    labels: Labels
    difficult: Flags
    crowd: Flags

    @classmethod
    def pack(cls, images: Iterable[Sequence[Annotation]]) -> "AnnotationArrays":
        """Pack the annotations of each image into flat arrays."""
        offsets = [0]
        rows: list[Annotation] = []
        for annotations in images:
            rows.extend(annotations)
            offsets.append(len(rows))
        return cls(
            offsets=np.asarray(offsets, np.int64),
            boxes=np.asarray([row.box for row in rows], np.float32).reshape(-1, 4),
            labels=np.asarray([row.label for row in rows], np.int64),
            difficult=np.asarray([row.difficult for row in rows], np.bool_),
            crowd=np.asarray([row.crowd for row in rows], np.bool_),
        )

    def image_slice(self, index: int) -> slice:
        """Slice of one image's objects in the flat arrays."""
        return slice(int(self.offsets[index]), int(self.offsets[index + 1]))


@dataclass(frozen=True, eq=False)
class IndexedDataset:
    """A Dataset of files whose annotations are all parsed when it is opened.

    A sample that cannot be parsed has its error in `errors`; indexing that sample raises it.
    """

    title: str
    class_names: tuple[str, ...]
    ids: tuple[str, ...]
    image_paths: tuple[str, ...]
    """one for each sample"""
    annotations: AnnotationArrays | None
    """None: no boxes were annotated"""
    errors: Mapping[int, DataError]
    """error of each sample that cannot be parsed, by index"""
    unlabeled: frozenset[int] = field(default=frozenset(), kw_only=True)
    """indices of the images without a label: nothing is known about them, unlike images whose label is empty"""
    assumed_empty: frozenset[int] = field(default=frozenset(), kw_only=True)
    """indices of the images without a label that count as annotated and empty"""
    declared_sizes: NDArray[np.int64] | None = field(default=None, kw_only=True)
    """(N, 2) height and width of each image as its annotation states them, 0 where it does not; None if none does"""
    incomplete: Mapping[int, Sequence[int]] = field(default_factory=dict, kw_only=True)
    """labels of which an image has objects without a box or outline, by the image's index: they are not annotated"""
    label_places: tuple[str, ...] = field(default=(), kw_only=True)
    """files or folders where labels were searched"""
    remarks: Mapping[str, Sequence[str]] = field(default_factory=dict, kw_only=True)
    """what the reader left out or joined -> the images or objects concerned"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(map(safe_id, self.ids)))
        for name in self.class_names:
            if not name.isprintable() or not 0 < len(name) <= _MAX_NAME:
                raise DataError(
                    f"{self.title}: expected class names of 1 to {_MAX_NAME} printable characters, got {shown(name)}"
                )
        if len(set(self.class_names)) < len(self.class_names):
            raise DataError(f"{self.title}: expected unique class names, got one twice")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        index = range(len(self))[index]
        if index in self.errors:
            raise self.errors[index]
        image = self.image_source(index)
        annotations = AnnotationArrays.pack([()]) if self.annotations is None else self.annotations
        rows = slice(0) if self.annotations is None else annotations.image_slice(index)
        scale = self._scale(image) * self.resize_factors(index, image)
        mask = self._mask(index, image)
        complete = np.ones(len(self.class_names), np.bool_)
        complete[list(self.incomplete.get(index, ()))] = False
        return Sample(
            id=self.ids[index],
            image=image,
            boxes=annotations.boxes[rows] * scale,
            labels=annotations.labels[rows],
            difficult=annotations.difficult[rows],
            crowd=annotations.crowd[rows],
            annotated_box_classes=complete & self._has_boxes(index),
            annotated_mask_classes=complete & (mask is not None),
            mask=mask,
        )

    def _has_boxes(self, index: int) -> bool:
        """Whether the boxes of one sample were annotated."""
        return self.annotations is not None and index not in self.unlabeled

    def image_source(self, index: int) -> ImageSource:
        """The image of one sample."""
        return ImageSource(self.image_paths[index])

    def _scale(self, image: ImageSource) -> NDArray[np.float32]:  # noqa: ARG002 - used where boxes are fractions
        """(4,) factors from stored boxes to pixels."""
        return np.ones(4, np.float32)

    def resize_factors(self, index: int, image: ImageSource) -> NDArray[np.float32]:
        """The factors from the pixels of the annotation to those of an image that was resized after annotation.

        Returns:
            (4,) 1 unless the image has another size than its annotation states, and the same aspect ratio.
        """
        declared = declared_size(self, index)
        if declared is None:
            return np.ones(4, np.float32)
        try:
            actual = image.size()
        except DataError:
            return np.ones(4, np.float32)
        if actual == declared or not is_same_aspect(declared, actual):
            return np.ones(4, np.float32)
        (height, width), (old_height, old_width) = actual, declared
        return np.tile(np.asarray([width / old_width, height / old_height], np.float32), 2)

    def _mask(self, index: int, image: ImageSource) -> MaskSource | None:  # noqa: ARG002 - for datasets with masks
        """The class map of one sample; None without an annotated mask."""
        return None


IndexedDatasetT = TypeVar("IndexedDatasetT", bound=IndexedDataset)


def safe_id(name: str) -> str:
    """A sample's id as the name of a file below a folder: writers and generators use it as one.

    Empty names, `.` and `..` are left out of an id with folders, and characters that cannot be printed are escaped.

    Returns:
        The id, `_` if nothing is left of it.
    """
    if not _UNSAFE_ID.search(name) and name.isprintable():
        return name
    text = name if name.isprintable() else name.encode("unicode_escape").decode("ascii")
    return "/".join(part for part in text.split("/") if part not in ("", ".", "..")) or "_"


def declared_size(dataset: IndexedDataset, index: int) -> tuple[int, int] | None:
    """(height, width) that an image's annotation states; None if it states none, or has a box outside of it."""
    if dataset.declared_sizes is None:
        return None
    height, width = map(int, dataset.declared_sizes[index])
    if height < 1 or width < 1:
        return None
    if dataset.annotations is not None:
        boxes = dataset.annotations.boxes[dataset.annotations.image_slice(index)]
        if len(boxes) and (boxes[:, 2:].max(0) > (width + 1, height + 1)).any():
            return None  # the boxes were made at another size
    return height, width


def is_same_aspect(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Whether one size (height, width) is the other, resized with its aspect ratio kept and rounded to pixels."""
    small, large = sorted((first, second))
    return abs(small[0] * large[1] - small[1] * large[0]) <= max(large)


def treat_unlabeled(dataset: IndexedDatasetT, unlabeled: Literal["skip", "empty"]) -> IndexedDatasetT:
    """The dataset with all its images without a label as not annotated (skip), or as annotated and empty."""
    indices = dataset.unlabeled | dataset.assumed_empty
    if unlabeled == "skip":
        return replace(dataset, unlabeled=indices, assumed_empty=frozenset())
    return replace(dataset, unlabeled=frozenset(), assumed_empty=indices)


def require_no_errors(dataset: Dataset) -> None:
    """Refuse a dataset with samples that cannot be parsed, before an epoch starts.

    Raises:
        DataError: The first such error, and how many more there are.
    """
    errors = dataset.errors if isinstance(dataset, IndexedDataset) else {}
    for error in errors.values():
        more = f" (and {len(errors) - 1} more; `blitznet data check` lists them)" if len(errors) > 1 else ""
        raise DataError(f"{error}{more}") from error


def read_text(path: Path, *, limit: int) -> str:
    """Read a UTF-8 text file.

    Raises:
        DataError: The file is missing, larger than `limit` bytes, or not UTF-8.
    """
    try:
        text = read_bytes(path, limit=limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8 text, got other bytes; save it as UTF-8") from error
    if "\0" in text:
        raise DataError(f"{path}: expected UTF-8 text, got a null character; save it as UTF-8")
    return text


def read_bytes(path: Path, *, limit: int) -> bytes:
    """Read a file.

    Raises:
        DataError: The file is missing, larger than `limit` bytes, or a pipe or a device.
    """
    try:
        content = read_at_most(path, limit)
    except FileNotFoundError as error:
        raise DataError(f"{path}: expected a file, got a path that does not exist") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path}: cannot be read ({reason})") from error
    if len(content) > limit:
        raise DataError(f"{path}: expected at most {limit:,} bytes, got a larger file; is it the right one?")
    return content


def read_class_list(path: Path) -> tuple[str, ...]:
    """Read class names from a text file, one per line; empty lines are skipped.

    Raises:
        DataError: The file has no name, or one name twice.
    """
    names = tuple(line.strip() for line in read_text(path, limit=1 << 20).splitlines() if line.strip())
    if not names:
        raise DataError(f"{path}: expected one class name per line, got an empty file")
    if len(set(names)) < len(names):
        raise DataError(f"{path}: expected unique class names, got duplicates; remove them")
    return names


def files_by_name(folder: Path, suffixes: Iterable[str], *, depth: int | None = None) -> dict[str, list[Path]]:
    """Map the relative path of each file under a folder, without suffix, to all files of that name, sorted by name.

    Args:
        folder: The folder.
        suffixes: Endings of the files, in lower case.
        depth: Levels of folders that are searched, 1 for the folder alone. Default: all.

    Returns:
        Name with composed accents -> files.
    """
    accepted = frozenset(suffixes)
    named: dict[str, list[Path]] = {}
    for path in sorted(path for path in walk_files(folder, depth=depth) if is_visible(path, accepted)):
        named.setdefault(composed(path.relative_to(folder).with_suffix("").as_posix()), []).append(path)
    return named


def is_visible(path: Path, suffixes: Container[str]) -> bool:
    """Whether a file has one of the suffixes and is not hidden; zips made on macOS contain `._image.jpg`."""
    return path.suffix.lower() in suffixes and not path.name.startswith(".")


def images_by_name(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """Map the relative path of each image under a folder, without suffix, to its file, sorted by name."""
    return {name: single_image(files) for name, files in files_by_name(folder, suffixes).items()}


def single_image(files: Sequence[Path]) -> Path:
    """The only image of a name.

    Raises:
        DataError: There are several; a sample has one image, so the others would be lost.
    """
    first, *others = sorted(files)
    if others:
        raise DataError(
            f"{first}: expected one image of this name, got also {others[0].name}; names without suffix identify "
            "samples, so rename or remove one"
        )
    return first
