"""Sample: one image with its annotations. Dataset: a sequence of samples under one set of class names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from blitznet.core.arrays import Boxes, ClassMap, Flags, Floats, Labels, require_shape
from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource

ANY_CLASS = -1
"""label of a crowd region without a class: detections inside it are ignored, whatever their class"""


class MaskSource(Protocol):
    """A class map that is read on demand; picklable, so that data-loader workers can receive it."""

    def read(self) -> ClassMap:
        """(H, W) uint8: 0 background, label + 1 for a class, 255 ignored."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class SoftLabels:
    """Logits of a segmentation teacher on a coarse grid over an image."""

    logits: Floats
    """(C, h, w), background first; -inf for classes that the teacher lacks"""
    first: tuple[float, float]
    """y x of the first grid point, fractions of the image"""
    step: tuple[float, float]
    """distance y x of the grid points, fractions of the image"""


class SoftLabelSource(Protocol):
    """Soft labels that are read on demand; picklable."""

    @property
    def known_classes(self) -> Flags:
        """(K,) classes that the teacher knows."""
        ...

    def read(self) -> SoftLabels:
        """The logits of the image."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """An image and its annotations. Boxes are pixels of the upright image, continuous, 0-based.

    Annotations may be partial. `annotated_box_classes` marks the classes of which every object has a box,
    `annotated_mask_classes` those of which every pixel is labeled. Where the first marks no class, boxes were not
    annotated; where the second marks none, the mask was not. Where all classes are marked and there is no box, the
    image is known to contain no object.
    """

    id: str
    """name that is unique in the dataset; in VOC `2007_000032`"""
    image: ImageSource
    boxes: Boxes
    """(M, 4) x1 y1 x2 y2"""
    labels: Labels
    """(M,) 0..K-1, or ANY_CLASS"""
    difficult: Flags
    """(M,) objects that are used in training and ignored in evaluation"""
    crowd: Flags
    """(M,) regions that are neither object nor background"""
    annotated_box_classes: Flags
    """(K,) classes whose boxes are complete"""
    annotated_mask_classes: Flags
    """(K,) classes whose pixels are complete"""
    mask: MaskSource | None = None
    """the class map; None where no mask was annotated"""
    soft_labels: SoftLabelSource | None = None
    """class scores of a segmentation teacher"""

    def __post_init__(self) -> None:
        count = len(self.labels)
        require_shape(self.boxes, (count, 4), name=f"{self.id}: boxes")
        require_shape(self.difficult, (count,), name=f"{self.id}: difficult")
        require_shape(self.crowd, (count,), name=f"{self.id}: crowd")
        if self.mask is None and self.annotated_mask_classes.any():
            raise DataError(f"{self.id}: expected a mask because mask classes are annotated, got none")

    def class_map(self) -> ClassMap | None:
        """Read the class map (H, W) now; None where no mask was annotated."""
        return None if self.mask is None else self.mask.read()


class Dataset(Protocol):
    """Images with annotations; labels of the samples index `class_names`."""

    @property
    def title(self) -> str:
        """The dataset as the user typed it, or its path."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """K class names."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """Id of each sample, unique within the dataset."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


class DatasetWrapper:
    """Base of datasets that change the samples of another one and keep their number and order."""

    dataset: Dataset

    @property
    def title(self) -> str:
        """The dataset's title."""
        return self.dataset.title

    @property
    def class_names(self) -> tuple[str, ...]:
        """The dataset's class names."""
        return self.dataset.class_names

    @property
    def ids(self) -> Sequence[str]:
        """Id of each sample."""
        return self.dataset.ids

    def __len__(self) -> int:
        return len(self.dataset)


@dataclass(frozen=True, slots=True, eq=False)
class Subset:
    """The samples of a dataset at `indices`, in that order; itself a Dataset."""

    dataset: Dataset
    indices: Sequence[int]

    @property
    def title(self) -> str:
        """The dataset's title."""
        return self.dataset.title

    @property
    def class_names(self) -> tuple[str, ...]:
        """The dataset's class names."""
        return self.dataset.class_names

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the selected samples."""
        ids = self.dataset.ids
        return tuple(ids[index] for index in self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int, /) -> Sample:
        return self.dataset[self.indices[index]]
