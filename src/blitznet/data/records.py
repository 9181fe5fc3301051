"""ImageRecord: what a reader parses of one image. `pack_records` makes a dataset of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource
from blitznet.core.sample import ANY_CLASS
from blitznet.data.dataset import Annotation, AnnotationArrays, IndexedDataset, UnknownClassError
from blitznet.data.masks import BoxTuple, RasterizedMask
from blitznet.data.outlines import Outline, Outlines

BACKGROUND_NAMES = frozenset({"background", "_background_", "__background__"})
"""class names that tools write for the background"""
IGNORED_NAMES = frozenset({"__ignore__", "_ignore_"})
"""class names that tools write for regions to ignore"""


class ObjectRecord(NamedTuple):
    """One object of an image."""

    name: str
    """class name"""
    box: BoxTuple
    """x1 y1 x2 y2 in pixels"""
    outline: Outline = Outline()
    difficult: bool = False
    crowd: bool = False
    has_area: bool = True
    """False for a point, a line or a region without a class: it is left out"""


class ImageRecord(NamedTuple):
    """One image with its objects."""

    id: str
    path: str
    size: tuple[int, int] | None
    """(H, W) that the annotation file states; None if it states none"""
    objects: Sequence[ObjectRecord] | None
    """None: the image was not annotated"""
    error: DataError | None = None
    """why the annotations cannot be parsed"""


@dataclass(frozen=True, eq=False)
class OutlineDataset(IndexedDataset):
    """Boxes, and class maps that are rasterized from outlines of the objects on demand."""

    outlines: Outlines

    def _mask(self, index: int, image: ImageSource) -> RasterizedMask | None:
        if self.annotations is None or index in self.unlabeled:
            return None
        rows, scale = self.annotations.image_slice(index), self.resize_factors(index, image)
        objects = self.outlines.mask_objects(self.annotations, rows, scale)
        if objects is None:
            return None
        height, width = (0, 0) if self.declared_sizes is None else map(int, self.declared_sizes[index])
        resized = not height or (scale != 1).any()
        return RasterizedMask(self.ids[index], image.size() if resized else (height, width), objects)


def without_area(name: str) -> ObjectRecord:
    """A point, a line or a region without a class: it has no box, and is counted and left out."""
    return ObjectRecord(name, (0, 0, 0, 0), has_area=False)


def pack_records(
    records: Iterable[ImageRecord], *, title: str, class_names: Sequence[str] | None, lists_all_images: bool = False
) -> OutlineDataset:
    """A dataset of parsed images. A dataset without any outline has no masks.

    Objects of a background class are left out, and those of an ignored class are crowds of any class. So are objects
    without an area: where an image has no other object of their class, that class is not annotated.

    Args:
        records: The images.
        title: Title of the dataset.
        class_names: The dataset's class names. Default: those that occur, in alphabetical order.
        lists_all_images: Whether the file lists images that nobody annotated too: those without any object are assumed
            to be empty.

    Raises:
        DataError: There is no image, or no class.
    """
    records = list(records)
    if not records:
        raise DataError(f"{title}: expected annotated images, got none")
    names = _class_names(records, class_names, title)
    labels = {name: label for label, name in enumerate(names)} | dict.fromkeys(IGNORED_NAMES, ANY_CLASS)
    errors: dict[int, DataError] = {}
    annotations: list[list[Annotation]] = []
    outlines: list[Outline] = []
    incomplete: dict[int, tuple[int, ...]] = {}
    left_out: list[str] = []
    for index, record in enumerate(records):
        objects = [item for item in record.objects or () if item.has_area and item.name not in BACKGROUND_NAMES]
        no_area = [item.name for item in record.objects or () if not item.has_area]
        left_out += [f"{record.id}: {name}" for name in no_area]
        only = {*no_area} - {item.name for item in objects}
        incomplete[index] = tuple(label for label, name in enumerate(names) if name in only)
        unknown = sorted({item.name for item in objects if item.name not in labels})
        if record.error is not None or unknown:
            errors[index] = record.error or UnknownClassError(
                f"{record.path}: expected classes of the dataset ({', '.join(names[:8])}), got {', '.join(unknown)}"
            )
            objects = []
        annotations.append(
            [
                Annotation(item.box, labels[item.name], item.difficult, item.crowd or item.name in IGNORED_NAMES)
                for item in objects
            ]
        )
        outlines.extend(item.outline for item in objects)
    return OutlineDataset(
        title=title,
        class_names=names,
        ids=tuple(record.id for record in records),
        image_paths=tuple(record.path for record in records),
        annotations=AnnotationArrays.pack(annotations),
        errors=errors,
        unlabeled=frozenset(index for index, record in enumerate(records) if record.objects is None),
        assumed_empty=frozenset(
            index
            for index, record in enumerate(records)
            if lists_all_images and record.objects is not None and not record.objects and record.error is None
        ),
        incomplete={index: labels for index, labels in incomplete.items() if labels},
        remarks={"points, lines and regions without a class, left out": left_out} if left_out else {},
        declared_sizes=np.asarray([record.size or (0, 0) for record in records], np.int64).reshape(-1, 2),
        outlines=Outlines.pack(outlines),
    )


def _class_names(records: Sequence[ImageRecord], class_names: Sequence[str] | None, title: str) -> tuple[str, ...]:
    names = class_names
    if names is None:
        names = sorted({item.name for record in records for item in record.objects or () if item.has_area})
    classes = tuple(name for name in names if name not in BACKGROUND_NAMES | IGNORED_NAMES)
    if not classes:
        error = next((record.error for record in records if record.error), None)
        raise error or DataError(f"{title}: expected objects of at least one class, got none")
    return classes


def crop_outline(crop: NDArray[np.bool_], corner: tuple[int, int], size: tuple[int, int], *, name: str) -> Outline:
    """The outline of a mask that is given as a part of its image.

    Args:
        crop: (h, w) the object's pixels.
        corner: x y of the part's upper left pixel.
        size: (H, W) of the image.
        name: File and object named in errors.

    Raises:
        DataError: The part lies outside the image.
    """
    (height, width), (x, y) = size, corner
    h, w = crop.shape
    if x < 0 or y < 0 or x + w > width or y + h > height:
        raise DataError(f"{name}: expected a mask inside the image of {width}x{height}, got {w}x{h} at {x}, {y}")
    # Only the part is computed with: one of few pixels may be in an image of millions.
    column, row = np.nonzero(np.diff(crop.T.astype(np.int8), prepend=0, append=0))
    edges = (x + column) * height + y + row
    is_joined = np.diff(edges, append=-1) == 0  # a run ends in the last row, and one starts in the next column
    is_joined[1:] |= is_joined[:-1]
    return Outline(runs=np.diff(edges[~is_joined], prepend=0, append=height * width))


def crop_box(crop: NDArray[np.bool_], corner: tuple[int, int]) -> BoxTuple | None:
    """The box around the true pixels of a part of an image at `corner` x y; None without a true pixel."""
    rows, columns = np.flatnonzero(crop.any(1)), np.flatnonzero(crop.any(0))
    if not len(rows):
        return None
    x, y = corner
    return float(x + columns[0]), float(y + rows[0]), float(x + columns[-1] + 1), float(y + rows[-1] + 1)
