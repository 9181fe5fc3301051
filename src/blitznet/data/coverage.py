"""Coverage: what datasets annotate of each class, and so what a model can learn from them.

What no dataset annotates, a model cannot learn: its head would predict it at random.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import IGNORE_INDEX, Flags
from blitznet.core.errors import DataError, UsageError
from blitznet.core.progress import Progress, no_progress
from blitznet.core.sample import Dataset, MaskSource
from blitznet.core.spec import Task
from blitznet.data.masks import RasterizedMask, RemappedMask, mask_value
from blitznet.data.pseudo import PseudoMaskDataset
from blitznet.data.soft_labels import SoftLabelDataset

MAX_READ_MASKS = 1000
"""mask files of a dataset that are read to count its classes; more are sampled evenly"""
_VALUES = IGNORE_INDEX + 1

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class SetCoverage:
    """What one dataset annotates of K classes."""

    title: str
    num_images: int
    box_images: int
    """images whose boxes are annotated"""
    mask_images: int
    """images whose mask is annotated"""
    objects: Counts
    """(K,) objects with a box, without crowds"""
    masks: Counts
    """(K,) images whose mask contains the class; estimated if not `all_masks_read`"""
    all_masks_read: bool
    annotated_boxes: Flags
    """(K,) classes whose boxes are annotated in some image"""
    annotated_masks: Flags
    """(K,) classes whose pixels are annotated in some image"""
    teacher_masks: Flags
    """(K,) classes of the teacher of pseudo-masks or soft labels"""


@dataclass(frozen=True, slots=True, eq=False)
class Coverage:
    """What all training sets together annotate of the trained classes."""

    class_names: tuple[str, ...]
    sets: tuple[SetCoverage, ...]

    @property
    def objects(self) -> Counts:
        """(K,) objects with a box."""
        return _total(self, "objects")

    @property
    def masks(self) -> Counts:
        """(K,) images whose mask contains the class."""
        return _total(self, "masks")

    def learned(self, task: Task) -> Flags:
        """(K,) classes that a head can learn: annotated in some set, or known by a teacher."""
        # A class that has objects only in the other task's annotations is not annotated: then a dataset that claims
        # to have all its boxes (masks) has none, although images contain it. No class is learned without any object.
        own, of_other_task = (self.objects, self.masks) if task == "detection" else (self.masks, self.objects)
        flags = np.zeros(len(self.class_names), np.bool_)
        for item in self.sets:
            flags |= item.annotated_boxes if task == "detection" else item.annotated_masks | item.teacher_masks
        contradicted = (own == 0) & (of_other_task > 0)
        if task == "segmentation":
            for item in self.sets:
                contradicted &= ~item.teacher_masks
            contradicted &= all(item.all_masks_read for item in self.sets)
        has_objects = bool(own.any()) or (
            task == "segmentation" and any(item.teacher_masks.any() for item in self.sets)
        )
        return np.asarray(flags & ~contradicted & has_objects, np.bool_)


def _total(coverage: Coverage, name: str) -> Counts:
    counts = [getattr(item, name) for item in coverage.sets]
    return np.asarray(np.sum(counts, 0, dtype=np.int64)) if counts else np.zeros(len(coverage.class_names), np.int64)


def measure_coverage(
    datasets: Sequence[Dataset], indices: Sequence[Sequence[int]] | None = None, *, progress: Progress = no_progress
) -> Coverage:
    """Count what datasets annotate.

    Args:
        datasets: Datasets with equal class names.
        indices: The samples of each dataset to count. Default: all.
        progress: Called after each image.

    Raises:
        DataError: A mask is broken, or has only the values 0 and 255.
    """
    selected = [range(len(dataset)) for dataset in datasets] if indices is None else indices
    sets = tuple(_measure(dataset, rows, progress) for dataset, rows in zip(datasets, selected, strict=True))
    return Coverage(tuple(datasets[0].class_names), sets)


def require_objects(coverage: Coverage, label_places: Sequence[str]) -> None:
    """Refuse training sets in which no object of any class is annotated.

    Args:
        coverage: The training sets.
        label_places: Where labels were searched, for the error.

    Raises:
        UsageError: No set has an object, a mask with a class or a teacher.
    """
    teachers = any(item.teacher_masks.any() for item in coverage.sets)
    if not (coverage.objects.any() or coverage.masks.any() or teachers):
        raise no_objects_error([item.title for item in coverage.sets], label_places)


def no_objects_error(titles: Sequence[str], label_places: Sequence[str]) -> UsageError:
    """The error of training sets without any object; `label_places` are the places where labels were searched."""
    searched = f"; looked for labels in {', '.join(label_places)}" if label_places else ""
    return UsageError(
        f"--data: expected an object or a mask in one of the training sets, got none in {', '.join(titles)}{searched}"
    )


def _measure(dataset: Dataset, rows: Sequence[int], progress: Progress) -> SetCoverage:
    count = len(dataset.class_names)
    objects, boxes, pixels = np.zeros(count, np.int64), np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    box_images, masks = 0, []
    for done, index in enumerate(rows, 1):
        sample = dataset[index]
        objects += np.bincount(sample.labels[~sample.crowd & (sample.labels >= 0)], minlength=count)
        boxes |= sample.annotated_box_classes
        box_images += bool(sample.annotated_box_classes.any())
        pixels |= sample.annotated_mask_classes
        if sample.mask is not None and sample.annotated_mask_classes.any():
            masks.append(sample.mask)
        progress(dataset.title, done, len(rows))
    values, all_read = _count_values(masks, dataset)
    return SetCoverage(
        title=dataset.title,
        num_images=len(rows),
        box_images=box_images,
        mask_images=len(masks),
        objects=objects,
        masks=values[[mask_value(label) for label in range(count)]],
        all_masks_read=all_read,
        annotated_boxes=boxes,
        annotated_masks=pixels,
        teacher_masks=_teacher_classes(dataset),
    )


def _count_values(masks: Sequence[MaskSource], dataset: Dataset) -> tuple[Counts, bool]:
    """(256,) number of masks with each value, and whether it is exact; rasterized masks are not drawn."""
    counts = np.zeros(_VALUES, np.int64)
    files = [mask for mask in masks if not isinstance(mask, RasterizedMask)]
    for mask in masks:
        if isinstance(mask, RasterizedMask):
            counts[sorted(mask.outlined_values())] += 1
    step = max(1, -(-len(files) // MAX_READ_MASKS))
    stored, mapped = _count_files(files[::step])
    if step > 1 and not stored[1:IGNORE_INDEX].any():
        step = 1
        stored, mapped = _count_files(files)
    has_pseudo_masks = _teacher_classes(dataset).any()
    if stored[IGNORE_INDEX] and not stored[1:IGNORE_INDEX].any() and not counts.any() and not has_pseudo_masks:
        raise DataError(f"{dataset.title}: {binary_mask_problem(dataset.class_names)}")
    return counts + mapped * step, step == 1


def _count_files(masks: Sequence[MaskSource]) -> tuple[Counts, Counts]:
    """(256,) number of masks with each value, as stored in the files and under the model's classes."""
    stored, mapped = np.zeros(_VALUES, np.int64), np.zeros(_VALUES, np.int64)
    for mask in masks:
        values = mask_values(mask.mask if isinstance(mask, RemappedMask) else mask)
        stored[values] += 1
        mapped[np.unique(mask.table[values]) if isinstance(mask, RemappedMask) else values] += 1
    return stored, mapped


def mask_values(mask: MaskSource) -> NDArray[np.int64]:
    """The values that occur in a class map, ascending."""
    return np.flatnonzero(np.bincount(mask.read().ravel(), minlength=_VALUES)).astype(np.int64)


def binary_mask_problem(class_names: Sequence[str]) -> str:
    """The error of a dataset whose masks contain 255 and no class."""
    return (
        f"expected class values in masks, got only 0 and {IGNORE_INDEX} in all of them; {IGNORE_INDEX} means ignored: "
        f"write 1 for {class_names[0]}" + (f", 2 for {class_names[1]} ..." if len(class_names) > 1 else "")
    )


def _teacher_classes(dataset: Dataset) -> Flags:
    """(K,) classes of the teacher of a dataset's pseudo-masks or soft labels; none without such files."""
    known = np.zeros(len(dataset.class_names), np.bool_)
    if isinstance(dataset, SoftLabelDataset):
        if dataset.folder.is_dir():
            known |= dataset.sources[1:] >= 0
        return known | _teacher_classes(dataset.dataset)
    if isinstance(dataset, PseudoMaskDataset) and dataset.folder.is_dir():
        known |= dataset.known_classes
    return known
