"""Dataset checks: find, count and locate errors before training."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import IGNORE_INDEX, Flags
from blitznet.core.errors import BlitzNetError, DataError, MissingExtra
from blitznet.core.progress import Progress, no_progress
from blitznet.core.sample import Dataset, Sample
from blitznet.data.annotation_check import (
    are_fractions,
    is_beside_outline,
    is_rectangle,
    labels_without_image,
    similar_names,
)
from blitznet.data.coverage import binary_mask_problem
from blitznet.data.dataset import IndexedDataset, UnknownClassError
from blitznet.data.image_check import SizeProblem, compare_size, size_problem
from blitznet.data.leaks import ImageEntry, find_duplicates, list_images, match_images
from blitznet.data.mapping import map_classes
from blitznet.data.masks import RasterizedMask, UnknownValueError
from blitznet.data.sources import DatasetSource, open_dataset, parse_source

Severity = Literal["error", "warning"]

MAX_EXAMPLES = 5
_UNREADABLE = "missing or unreadable files"
_TOLERANCE = 1.0
"""pixels by which a box may extend beyond its image, because of rounding and 1-based coordinates"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of problem in one dataset."""

    severity: Severity
    kind: str
    title: str
    """title of the dataset"""
    count: int
    examples: tuple[str, ...]
    """up to five, each naming the image or file"""


@dataclass(frozen=True, slots=True)
class ClassTotals:
    """Numbers of one class of a dataset."""

    name: str
    objects: int
    """objects with a box"""
    images: int
    """images that contain the class, in boxes or mask"""
    masks: int
    """images whose mask contains the class"""


@dataclass(frozen=True, slots=True)
class DatasetTotals:
    """Numbers of images, objects, masks and classes of one dataset."""

    title: str
    images: int
    objects: int
    masks: int
    classes: int
    per_class: tuple[ClassTotals, ...] = ()
    """in the order of the class names"""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All findings of a check, errors first."""

    findings: tuple[Finding, ...]
    totals: tuple[DatasetTotals, ...]
    """one for each dataset that could be opened"""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings to fix before training."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings that may be intended."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")


def check_datasets(
    *datasets: str | DatasetSource | Dataset,
    class_names: tuple[str, ...] | None = None,
    progress: Progress = no_progress,
) -> CheckReport:
    """Check every image, box and mask of the datasets.

    The check does not stop at the first error: a file that cannot be read is one finding. Images that two datasets
    share are warnings, because the datasets may never be used together.

    Args:
        datasets: Dataset strings, parsed sources or datasets.
        class_names: The model's class names; dataset classes that are not among them become warnings.
        progress: Called after each image.
    """
    log = _Log()
    totals: list[DatasetTotals] = []
    checked: list[tuple[str, list[ImageEntry]]] = []
    for item in datasets:
        opened = _open(item, class_names, log)
        if opened is None:
            continue
        dataset, annotated = opened
        occurs, total = _check_samples(dataset, log, progress)
        totals.append(total)
        for name in np.asarray(dataset.class_names)[annotated & ~occurs]:
            log.add("warning", "classes without objects", dataset.title, str(name))
        for pair in similar_names(np.asarray(dataset.class_names)[occurs].tolist()):
            log.add("warning", "class names that may be one class", dataset.title, pair)
        if isinstance(dataset, IndexedDataset):
            for path in labels_without_image(dataset):
                log.add("warning", "label files without an image", dataset.title, path)
            for kind, items in dataset.remarks.items():
                for text in items:
                    log.add("warning", kind, dataset.title, text)
        entries = list(list_images(dataset))
        for first, second in find_duplicates(entries):
            log.add("warning", "duplicate images", dataset.title, f"{second.id} is {first.id}")
        for title, earlier_entries in checked:
            for first, second in match_images(earlier_entries, entries):
                log.add("warning", f"images also in {title}", dataset.title, f"{second.id} is {first.id}")
        checked.append((dataset.title, entries))
    return CheckReport(findings=log.findings(), totals=tuple(totals))


@dataclass(slots=True)
class _Log:
    """Counts of each kind of finding, with the first few examples."""

    counts: dict[tuple[Severity, str, str], int] = field(default_factory=dict)
    examples: dict[tuple[Severity, str, str], list[str]] = field(default_factory=dict)

    def add(self, severity: Severity, kind: str, title: str, example: str) -> None:
        key = (severity, kind, title)
        self.counts[key] = self.counts.get(key, 0) + 1
        examples = self.examples.setdefault(key, [])
        if len(examples) < MAX_EXAMPLES:
            examples.append(example)

    def findings(self) -> tuple[Finding, ...]:
        findings = (
            Finding(severity, kind, title, count, tuple(self.examples[severity, kind, title]))
            for (severity, kind, title), count in self.counts.items()
        )
        return tuple(sorted(findings, key=lambda finding: finding.severity != "error"))


def _open(
    item: str | DatasetSource | Dataset, class_names: tuple[str, ...] | None, log: _Log
) -> tuple[Dataset, Flags] | None:
    """The dataset under its own class names, and which of them it annotates; None after logging an open error."""
    title = item if isinstance(item, str) else item.title
    try:
        source = parse_source(item) if isinstance(item, str) else item
        if not isinstance(source, DatasetSource):
            return source, np.ones(len(source.class_names), np.bool_)
        dataset = open_dataset(source)
        own = map_classes(dataset, dataset.class_names, annotated=source.annotated, ignore=source.ignore)
        unmapped = map_classes(dataset, class_names or dataset.class_names, ignore=source.ignore).unmapped
    except MissingExtra:  # not a fault of the data
        raise
    except BlitzNetError as error:
        log.add("error", "datasets that cannot be opened", title, str(error))
        return None
    for name in unmapped:
        log.add("warning", "classes unknown to the model, used as background", title, name)
    return dataset, own.annotated


def _check_samples(dataset: Dataset, log: _Log, progress: Progress) -> tuple[Flags, DatasetTotals]:
    """Check every sample; return which classes occur (K,), and the totals."""
    num_classes = len(dataset.class_names)
    objects, images, masks = (np.zeros(num_classes, np.int64) for _ in range(3))
    num_objects = num_masks = 0
    void_only: list[str] = []
    for index in range(len(dataset)):
        try:
            sample = dataset[index]
        except UnknownClassError as error:
            log.add("error", "objects of unknown classes", dataset.title, str(error))
        except DataError as error:
            log.add("error", _UNREADABLE, dataset.title, str(error))
        else:
            num_objects += len(sample.labels)
            num_masks += sample.mask is not None
            labels = sample.labels[sample.labels >= 0]
            in_mask, has_void = _check_sample(sample, index, dataset, log)
            objects += np.bincount(labels, minlength=num_classes)
            masks[in_mask] += 1
            images[np.union1d(labels, in_mask)] += 1
            if has_void and not len(in_mask):
                void_only.append(sample.id)
        progress(dataset.title, index + 1, len(dataset))
    if void_only and not masks.any():
        problem = binary_mask_problem(dataset.class_names)
        log.add("error", "masks without any class", dataset.title, f"{void_only[0]}: {problem}")
    per_class = tuple(
        ClassTotals(name, *map(int, counts))
        for name, *counts in zip(dataset.class_names, objects, images, masks, strict=True)
    )
    totals = DatasetTotals(dataset.title, len(dataset), num_objects, num_masks, num_classes, per_class)
    return images > 0, totals


def _check_sample(sample: Sample, index: int, dataset: Dataset, log: _Log) -> tuple[NDArray[np.int64], bool]:
    """Check one sample; return the classes in its mask, and whether the mask has ignored pixels."""
    title = dataset.title
    size = _check_image(sample, title, log)
    if size is not None and isinstance(dataset, IndexedDataset):
        _check_size(sample, index, dataset, log)
    if size is not None and are_fractions(sample.boxes, size):
        log.add("warning", "boxes that are fractions of the image", title, sample.id)
    _check_boxes(sample, size, dataset, log)
    _check_outlines(sample, title, log)
    mask_values = _check_mask(sample, size, title, log)
    in_mask = np.asarray([value - 1 for value in mask_values if value != IGNORE_INDEX], np.int64)
    is_annotated = sample.annotated_box_classes.any() or sample.mask is not None
    is_assumed = isinstance(dataset, IndexedDataset) and index in dataset.assumed_empty
    if not is_annotated:
        log.add("warning", "images without annotations", title, sample.id)
    elif is_assumed:
        log.add("warning", "images without annotations, taken as images without objects", title, sample.id)
    elif not len(sample.labels) and not len(in_mask):
        log.add("warning", "images without objects", title, sample.id)
    return in_mask, IGNORE_INDEX in mask_values


def _check_size(sample: Sample, index: int, dataset: IndexedDataset, log: _Log) -> None:
    """Compare the size of the image with the one that its annotation states."""
    kind = compare_size(dataset, index, sample.image)
    if kind is not None:
        kinds: dict[SizeProblem, str] = {
            "resized": "images resized after annotation, their boxes are scaled",
            "turned": "images turned by their EXIF orientation, but not in their annotation",
            "other": "images of another size than their annotation states",
        }
        log.add("error", kinds[kind], dataset.title, size_problem(dataset, index, sample.image.size()))


def _check_outlines(sample: Sample, title: str, log: _Log) -> None:
    """Compare outlines with the boxes of their objects."""
    if not isinstance(sample.mask, RasterizedMask):
        return
    for item in sample.mask.objects:
        if is_rectangle(item):
            log.add("warning", "outlines that are only a box", title, sample.id)
        if is_beside_outline(item):
            example = f"{sample.id}: {np.round(item.box, 1).tolist()}"
            log.add("warning", "boxes that are not around their outline", title, example)


def _check_image(sample: Sample, title: str, log: _Log) -> tuple[int, int] | None:
    """(H, W) of the image, after decoding it completely; None if that fails."""
    try:
        height, width, _ = sample.image.read().shape
    except DataError as error:
        log.add("error", _UNREADABLE, title, str(error))
        return None
    return height, width


def _check_boxes(sample: Sample, size: tuple[int, int] | None, dataset: Dataset, log: _Log) -> None:
    height, width = size or (np.inf, np.inf)
    low = np.asarray([-_TOLERANCE, -_TOLERANCE])
    high = np.asarray([width + _TOLERANCE, height + _TOLERANCE])
    listed = set()
    for box, label in zip(sample.boxes.astype(np.float64), sample.labels, strict=True):
        example = f"{sample.id}: {dataset.class_names[label]} {box.round(1).tolist()}"
        if (label, *box) in listed:
            log.add("warning", "objects listed twice", dataset.title, example)
        listed.add((label, *box))
        if (box[2:] <= box[:2]).any():
            log.add("error", "empty or inverted boxes", dataset.title, example)
        elif size and ((box[:2] < low).any() or (box[2:] > high).any()):
            log.add("error", "boxes outside their image", dataset.title, f"{example} in {width}x{height}")


def _check_mask(sample: Sample, size: tuple[int, int] | None, title: str, log: _Log) -> NDArray[np.int64]:
    """Check the mask; return its values without background, none without a readable mask."""
    empty = np.zeros(0, np.int64)
    if sample.mask is None:
        return empty
    try:
        class_map = sample.mask.read()
    except UnknownValueError as error:
        log.add("error", "masks with unknown values", title, str(error))
        return empty
    except DataError as error:
        log.add("error", _UNREADABLE, title, str(error))
        return empty
    if size and class_map.shape != size:
        sizes = f"expected {size[1]}x{size[0]} as the image, got {class_map.shape[1]}x{class_map.shape[0]}"
        log.add("error", "masks whose size differs from their image", title, f"{sample.id}: {sizes}")
    values = np.flatnonzero(np.bincount(class_map.ravel(), minlength=IGNORE_INDEX + 1))
    return np.asarray(values[values > 0], np.int64)
