"""Soft labels: the class probabilities of a segmentation teacher, as targets of knowledge distillation.

A folder of soft labels contains `classes.txt`, one name per line, and one folder per dataset with ID.npz: the
teacher's logits on its own coarse grid. Labels of a training sample are computed from them for its crop. There, boxes
correct the teacher: a class has no probability outside boxes of that class, and where the teacher missed an object,
cells have no label.
Source: Hinton et al., Distilling the knowledge in a neural network, 2015.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import Flags, Floats
from blitznet.core.classes import canonical
from blitznet.core.errors import DataError
from blitznet.core.files import atomic_write
from blitznet.core.image import ImageSource
from blitznet.core.npz import NPZ_ERRORS, read_npz
from blitznet.core.sample import Dataset, DatasetWrapper, Sample, SoftLabels
from blitznet.data.crop import CropWindow
from blitznet.data.mapping import MappedDataset
from blitznet.data.pseudo import CLASS_LIST, PseudoMaskDataset, dataset_folder, read_teacher_classes, require_same_names
from blitznet.data.sources import DatasetSource

MIN_COVERAGE = 0.15
"""mean probability of a box's class inside it, below which the teacher missed the object"""
MIN_AGREEMENT = 0.5
"""probability that boxes do not refute, below which a cell has no label"""
BOX_MARGIN = 0.03
"""fraction of its size by which a box is enlarged on each side before it refutes the teacher"""
_MAX_BYTES = 256 << 20
"""bytes of the logits of an image, at most"""
SCALE = 255
"""uint8 value of probability 1"""


class SoftTeacher(Protocol):
    """A segmentation model whose logits become soft labels."""

    class_names: tuple[str, ...]

    def __call__(self, image: ImageSource, /) -> SoftLabels:
        """Logits of background and its classes."""
        ...


@dataclass(frozen=True, slots=True)
class SoftLabelFile:
    """Soft labels of one image, read on demand, under the student's classes."""

    path: str
    sources: NDArray[np.int64]
    """(C,) channel of the teacher for each of the student; -1 where the teacher lacks the class"""

    @property
    def known_classes(self) -> Flags:
        """(K,) classes that the teacher knows."""
        known: Flags = self.sources[1:] >= 0
        return known

    def read(self) -> SoftLabels:
        """Read the file.

        Raises:
            DataError: The file is missing or broken, or has other channels.
        """
        labels = read_soft_labels(Path(self.path))
        if len(labels.logits) <= self.sources.max():
            raise DataError(
                f"{self.path}: expected logits of {self.sources.max() + 1} or more channels, got {len(labels.logits)}"
            )
        known = self.sources >= 0
        logits = np.full((len(self.sources), *labels.logits.shape[1:]), -np.inf, np.float32)
        logits[known] = labels.logits[self.sources[known]]
        rest = np.setdiff1d(np.arange(len(labels.logits)), self.sources)  # classes that the student lacks
        if len(rest):
            logits[0] = np.logaddexp.reduce(labels.logits[[0, *rest]], 0)
        return replace(labels, logits=logits)


@dataclass(frozen=True, eq=False)
class SoftLabelDataset(DatasetWrapper):
    """A dataset whose images have soft labels; made by `with_soft_labels`."""

    dataset: MappedDataset | PseudoMaskDataset
    folder: Path
    sources: NDArray[np.int64]
    """(C,) channel of the teacher for each of the dataset; -1 where the teacher lacks the class"""

    @property
    def unmapped(self) -> tuple[str, ...]:
        """The dataset's class names that the model lacks; their objects are background."""
        return self.dataset.unmapped

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        path = soft_label_path(self.folder, sample)
        return replace(sample, soft_labels=SoftLabelFile(str(path), self.sources)) if path.is_file() else sample


def with_soft_labels(
    dataset: MappedDataset | PseudoMaskDataset, source: DatasetSource, folder: Path
) -> SoftLabelDataset:
    """Add the soft labels in `folder` to the images of a dataset.

    Raises:
        DataError: The folder is not one of soft labels.
    """
    class_list = folder / CLASS_LIST
    if not class_list.is_file():
        raise DataError(
            f"{folder}: expected a folder of soft labels, got one without {CLASS_LIST}; "
            "write one with `blitznet data soft-label`"
        )
    channels = {canonical(name): channel for channel, name in enumerate(read_teacher_classes(class_list), start=1)}
    sources = [0, *(channels.get(canonical(name), -1) for name in dataset.class_names)]
    return SoftLabelDataset(dataset, folder / dataset_folder(source), np.asarray(sources))


def generate_soft_labels(teacher: SoftTeacher, dataset: Dataset, source: DatasetSource, folder: Path) -> Iterator[bool]:
    """Write the teacher's logits for all images of a dataset. Existing files are kept, so a run can be resumed.

    Args:
        teacher: The teacher.
        dataset: The dataset, under any class names.
        source: Where the dataset is; determines the folder of its labels.
        folder: Folder of soft labels of one teacher.

    Yields:
        For each image, whether a file was written.

    Raises:
        UsageError: The folder contains soft labels of other classes.
    """
    require_same_names(folder / CLASS_LIST, teacher.class_names)
    atomic_write(folder / CLASS_LIST, ("\n".join(teacher.class_names) + "\n").encode())
    for index in range(len(dataset)):
        sample = dataset[index]
        path = soft_label_path(folder / dataset_folder(source), sample)
        is_missing = not path.is_file()
        if is_missing:
            write_soft_labels(path, teacher(sample.image))
        yield is_missing


def write_soft_labels(path: Path, labels: SoftLabels) -> None:
    """Write soft labels as float16, atomically."""
    content = BytesIO()
    np.savez(content, logits=labels.logits.astype(np.float16), first=labels.first, step=labels.step)
    atomic_write(path, content.getvalue())


def read_soft_labels(path: Path) -> SoftLabels:
    """Read a file of `write_soft_labels`.

    Raises:
        DataError: The file is missing or broken.
    """
    try:
        content = read_npz(path, limit=_MAX_BYTES)
        logits, first, step = (np.asarray(content[name], np.float32) for name in ("logits", "first", "step"))
        if logits.ndim != 3 or 0 in logits.shape or first.shape != (2,) or step.shape != (2,):
            raise ValueError(f"logits of shape {logits.shape}")
    except (KeyError, *NPZ_ERRORS) as error:
        raise DataError(f"{path}: expected soft labels, got an unreadable file ({error}); delete it") from error
    return SoftLabels(logits, (float(first[0]), float(first[1])), (float(step[0]), float(step[1])))


def soft_label_path(folder: Path, sample: Sample) -> Path:
    """The file of a sample."""
    return folder / f"{sample.id}.npz"


def warp_soft_labels(
    sample: Sample, window: CropWindow, image_size: tuple[int, int], size: tuple[int, int]
) -> NDArray[np.uint8] | None:
    """Soft labels (C, h, w) of a crop, corrected by the boxes of the sample.

    Args:
        sample: The sample, boxes in pixels of the image.
        window: The crop.
        image_size: (H, W) of the image.
        size: (h, w) of the labels.

    Returns:
        Probabilities, 255 for 1; all 0 in cells without a label and outside the image. None without soft labels.
    """
    if sample.soft_labels is None:
        return None
    labels = sample.soft_labels.read()
    y = window.y1 + (np.arange(size[0]) + 0.5) * window.height / size[0]  # centers of the cells, pixels of the image
    x = window.x1 + (np.arange(size[1]) + 0.5) * window.width / size[1]
    if window.flipped:
        x = x[::-1]
    rows = _interpolation(y / image_size[0], labels.first[0], labels.step[0], labels.logits.shape[1])
    columns = _interpolation(x / image_size[1], labels.first[1], labels.step[1], labels.logits.shape[2])
    known = np.isfinite(labels.logits[:, 0, 0])
    logits = rows @ labels.logits[known] @ columns.T
    probability = np.zeros((len(known), *size), np.float32)
    probability[known] = _softmax(np.asarray(logits, np.float32))
    has_label = correct_by_boxes(probability, sample, y, x)
    has_label &= ((y > 0) & (y < image_size[0]))[:, None] & ((x > 0) & (x < image_size[1]))
    return np.where(has_label, np.rint(probability * SCALE), 0).astype(np.uint8)


def correct_by_boxes(probability: Floats, sample: Sample, y: NDArray[np.float64], x: NDArray[np.float64]) -> Flags:
    """Correct the teacher's probabilities where boxes refute them.

    Args:
        probability: (C, h, w), changed in place.
        sample: The sample, boxes in pixels of the image.
        y: (h,) positions of the rows, pixels of the image.
        x: (w,) positions of the columns, pixels of the image.

    Returns:
        (h, w) cells that have a label.
    """
    inside = np.zeros(probability.shape, np.bool_)
    inside[0] = True
    inside[1:] = ~sample.annotated_box_classes[:, None, None]
    uncertain, agreed = np.zeros(probability.shape[1:], np.bool_), np.zeros(probability.shape[1:], np.bool_)
    for box, label, crowd in zip(sample.boxes, sample.labels, sample.crowd, strict=True):
        region = np.ix_(*_spans(box, y, x, 0.0))
        if label < 0:
            uncertain[region] = True
            continue
        inside[label + 1][np.ix_(*_spans(box, y, x, BOX_MARGIN))] = True
        values = probability[label + 1][region]
        if crowd or (values.size and values.mean() < MIN_COVERAGE):
            uncertain[region] = True
        if not crowd and values.size:
            agreed[region] |= values > MIN_AGREEMENT
    probability *= inside
    total = probability.sum(0)
    probability /= np.maximum(total, 1e-6)
    has_label: Flags = (total >= MIN_AGREEMENT) & (~uncertain | agreed)
    return has_label


def _spans(
    box: Floats, y: NDArray[np.float64], x: NDArray[np.float64], margin: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns whose centers are in a box enlarged by a fraction of its size."""
    x1, y1, x2, y2 = (float(value) for value in box)
    dx, dy = margin * (x2 - x1), margin * (y2 - y1)
    return np.flatnonzero((y >= y1 - dy) & (y <= y2 + dy)), np.flatnonzero((x >= x1 - dx) & (x <= x2 + dx))


def _interpolation(positions: NDArray[np.float64], first: float, step: float, count: int) -> Floats:
    """(n, count) weights of bilinear interpolation at positions, fractions of the image, on a grid."""
    grid = ((positions - first) / step).clip(0, count - 1)
    low = np.minimum(grid.astype(np.int64), max(0, count - 2))
    weights = np.zeros((len(grid), count), np.float32)
    index = np.arange(len(grid))
    weights[index, low] = 1 - (grid - low)
    if count > 1:
        weights[index, low + 1] = grid - low
    return weights


def _softmax(logits: Floats) -> Floats:
    exponentials = np.exp(logits - logits.max(0))
    probability: Floats = exponentials / exponentials.sum(0)
    return probability
