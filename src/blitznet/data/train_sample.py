"""TrainSample: one augmented sample at the network's input size."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import Boxes, ClassMap, Flags, Labels, RGBArray, require_shape


@dataclass(frozen=True, slots=True, eq=False)
class TrainSample:
    """Image, boxes and class map after one common geometric transform."""

    id: str
    image: RGBArray
    """(h, w, 3) uint8 RGB"""
    boxes: Boxes
    """(M, 4) x1 y1 x2 y2 as fractions 0..1 of the image"""
    labels: Labels
    """(M,) 0..K-1; ANY_CLASS for crowd regions of no particular class"""
    crowd: Flags
    """(M,) regions that are neither object nor background"""
    class_map: ClassMap
    """(mh, mw) 0 background, label + 1, 255 ignored; all ignored without an annotated mask"""
    annotated_box_classes: Flags
    """(K,) classes of which every object has a box"""
    annotated_mask_classes: Flags
    """(K,) classes of which every pixel is labeled"""
    soft_labels: NDArray[np.uint8] | None = None
    """(C, h, w) class probabilities of a segmentation teacher, 255 for 1; all 0 in cells without a label"""
    soft_classes: Flags | None = None
    """(K,) classes that the teacher knows; None without soft labels"""

    def __post_init__(self) -> None:
        count = len(self.labels)
        require_shape(self.image, (None, None, 3), name=f"{self.id}: image")
        require_shape(self.boxes, (count, 4), name=f"{self.id}: boxes")
        require_shape(self.crowd, (count,), name=f"{self.id}: crowd")
        require_shape(self.class_map, (None, None), name=f"{self.id}: class map")
