"""Pseudo-masks: class maps predicted by a teacher model, for images that have boxes and no mask.

The teacher's pixels of a class are kept inside boxes of that class, and its background is kept outside boxes. Where the
teacher and the boxes disagree, pixels are ignored (255). A folder of pseudo-masks contains `classes.txt`, one name per
line, and one folder per dataset with ID.png: 0 background, line number for a class, 255 ignored.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blitznet.core.arrays import IGNORE_INDEX, ClassMap, Flags, Floats
from blitznet.core.classes import canonical
from blitznet.core.errors import DataError, UsageError
from blitznet.core.files import atomic_write
from blitznet.core.image import ImageSource
from blitznet.core.sample import Dataset, DatasetWrapper, Sample
from blitznet.data.mapping import MappedDataset
from blitznet.data.masks import IndexMask, RemappedMask
from blitznet.data.sources import DatasetSource

CLASS_LIST = "classes.txt"
_MIN_COVERAGE = 0.15
"""fraction of a box's pixels with its class below which the teacher missed the object; bicycles cover little more"""

MaskTeacher = Callable[[ImageSource], ClassMap]
"""image -> its class map (H, W)"""


@dataclass(frozen=True, eq=False)
class PseudoMaskDataset(DatasetWrapper):
    """A dataset whose images without a mask have a pseudo-mask; made by `with_pseudo_masks`."""

    dataset: MappedDataset
    folder: Path
    table: NDArray[np.uint8]
    """(256,) the teacher's mask value -> the dataset's"""
    known_classes: Flags
    """(K,) classes of the dataset that the teacher knows"""
    num_values: int
    """the teacher's valid mask values are 0 to num_values - 1, and 255"""

    @property
    def unmapped(self) -> tuple[str, ...]:
        """The dataset's class names that the model lacks; their objects are background."""
        return self.dataset.unmapped

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        path = _mask_path(self.folder, sample)
        if sample.mask is not None or not path.is_file():
            return sample
        return replace(
            sample,
            mask=RemappedMask(IndexMask(str(path), self.num_values), self.table),
            annotated_mask_classes=self.known_classes.copy(),
        )


def with_pseudo_masks(dataset: MappedDataset, source: DatasetSource, folder: Path) -> PseudoMaskDataset:
    """Add the pseudo-masks in `folder` to the images of a dataset that have no mask.

    Raises:
        DataError: The folder is not one of pseudo-masks.
    """
    class_list = folder / CLASS_LIST
    if not class_list.is_file():
        raise DataError(
            f"{folder}: expected a folder of pseudo-masks, got one without {CLASS_LIST}; "
            "write one with `blitznet data pseudo-label`"
        )
    teacher_names = [canonical(name) for name in read_teacher_classes(class_list)]
    values = {canonical(name): value for value, name in enumerate(dataset.class_names, start=1)}
    table = np.full(256, IGNORE_INDEX, np.uint8)
    table[: len(teacher_names) + 1] = [0, *(values.get(name, 0) for name in teacher_names)]
    known = np.asarray([canonical(name) in teacher_names for name in dataset.class_names])
    return PseudoMaskDataset(dataset, folder / dataset_folder(source), table, known, len(teacher_names) + 1)


def generate_pseudo_masks(
    teacher: MaskTeacher, dataset: Dataset, source: DatasetSource, folder: Path
) -> Iterator[bool]:
    """Write the teacher's class maps for all images of a dataset that have boxes and no mask.

    Existing files are kept, so an interrupted run can be resumed.

    Args:
        teacher: Model whose mask values are the dataset's labels + 1.
        dataset: The dataset under the teacher's class names.
        source: Where the dataset is; determines the folder of its masks.
        folder: Folder of pseudo-masks of one teacher.

    Yields:
        For each image, whether a mask was written.

    Raises:
        UsageError: The folder contains pseudo-masks for other classes.
    """
    mask_folder = folder / dataset_folder(source)
    require_same_names(folder / CLASS_LIST, dataset.class_names)
    atomic_write(folder / CLASS_LIST, ("\n".join(dataset.class_names) + "\n").encode())
    for index in range(len(dataset)):
        sample = dataset[index]
        path = _mask_path(mask_folder, sample)
        is_missing = sample.mask is None and bool(sample.annotated_box_classes.any()) and not path.is_file()
        if is_missing:
            png = BytesIO()
            Image.fromarray(ignore_disagreements(teacher(sample.image), sample)).save(png, "PNG")
            atomic_write(path, png.getvalue())
        yield is_missing


def require_same_names(class_list: Path, names: Sequence[str]) -> None:
    """Refuse a folder of a teacher with other classes, because its mask values mean other classes."""
    if not class_list.is_file():
        return
    existing = read_teacher_classes(class_list)
    if existing != tuple(names):
        raise UsageError(
            f"{class_list.parent}: expected labels of the teacher's classes {', '.join(names[:8])}, "
            f"got {', '.join(existing[:8])}; choose another --out, or remove that folder"
        )


def read_teacher_classes(class_list: Path) -> tuple[str, ...]:
    """The class names of a teacher, in the order of its mask values from 1 on."""
    return tuple(name for name in class_list.read_text(encoding="utf-8").split("\n") if name)


def ignore_disagreements(class_map: ClassMap, sample: Sample) -> ClassMap:
    """Set pixels to ignored (255) where a teacher's class map (H, W) and the boxes of a sample disagree."""
    agreed, uncertain = np.zeros(class_map.shape, np.bool_), np.zeros(class_map.shape, np.bool_)
    for box, label, crowd in zip(sample.boxes, sample.labels, sample.crowd, strict=True):
        region = _pixel_region(box, class_map.shape)
        of_class = class_map[region] == label + 1
        if crowd or of_class.mean() < _MIN_COVERAGE:
            uncertain[region] = True
        if not crowd:
            agreed[region] |= of_class
    ignored = ((class_map > 0) | uncertain) & ~agreed
    return np.where(ignored, np.uint8(IGNORE_INDEX), class_map)


def _pixel_region(box: Floats, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of a map (H, W) inside a box x1 y1 x2 y2, at least one pixel."""
    height, width = shape
    x1, y1 = (
        min(max(0, round(float(value))), limit - 1) for value, limit in zip(box[:2], (width, height), strict=True)
    )
    x2, y2 = (round(float(value)) for value in box[2:])
    return slice(y1, max(y1 + 1, y2)), slice(x1, max(x1 + 1, x2))


def dataset_folder(source: DatasetSource) -> str:
    """Folder name of a dataset's pseudo-masks: the last two parts of its path, because many are called `data`."""
    root = source.root.resolve()
    return "-".join(filter(None, (source.format, root.parent.name, root.name, source.split))).replace("/", "-")


def _mask_path(folder: Path, sample: Sample) -> Path:
    return folder / f"{sample.id}.png"
