"""Sample: one image with what is known to be in it."""

from dataclasses import dataclass
from typing import Protocol

from blitznet.core.arrays import Boxes, ClassMap, Flags, Labels, require_shape
from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource

ANY_CLASS = -1
"""label of a crowd region of no class in particular: whatever is found there counts for nothing"""


class MaskSource(Protocol):
    """Where a class map is read from when it is wanted; picklable, so that workers can carry it."""

    def read(self) -> ClassMap:
        """(H, W) uint8: 0 background, label + 1, 255 void."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A image and its truth. Boxes are pixels of the upright image, continuous, 0-based.

    What was annotated is part of the truth: `box_classes` says of which classes every object has its
    box here, `mask_classes` of which classes every pixel is painted. None of them: no boxes (no mask)
    were annotated. All of them and no box: a image known to be empty.
    """

    id: str
    """unique in its data set; VOC: `2007_000032`"""
    image: ImageSource
    boxes: Boxes
    """(M, 4) x1 y1 x2 y2"""
    labels: Labels
    """(M,) 0..K-1, or ANY"""
    difficult: Flags
    """(M,) learned from, ignored in scoring"""
    crowd: Flags
    """(M,) regions that are neither object nor background"""
    annotated_box_classes: Flags
    """(K,)"""
    annotated_mask_classes: Flags
    """(K,)"""
    mask: MaskSource | None = None

    def __post_init__(self) -> None:
        count = len(self.labels)
        require_shape(self.boxes, (count, 4), name=f"{self.id}: boxes")
        require_shape(self.difficult, (count,), name=f"{self.id}: difficult")
        require_shape(self.crowd, (count,), name=f"{self.id}: crowd")
        if self.mask is None and self.annotated_mask_classes.any():
            raise DataError(f"{self.id}: mask classes are given but there is no mask")

    def class_map(self) -> ClassMap | None:
        """The class map (H, W), read now; None where no mask was annotated."""
        return None if self.mask is None else self.mask.read()
