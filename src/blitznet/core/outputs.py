"""What an engine returns for a batch: raw network outputs, or detections of a model with NMS inside."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """Raw answers of the network for a batch; a task that was not asked for is None."""

    offsets: Floats | None
    """(B, A, 4) corrections to the anchors"""
    logits: Floats | None
    """(B, A, C) class logits, background first"""
    segmentation_logits: Floats | None
    """(B, C, h, w) segmentation logits, background first"""


@dataclass(frozen=True, slots=True, eq=False)
class NmsOutputs:
    """Finished answers of a file that has the post-processing inside, for a batch.

    Rows beyond `count` stand for nothing.
    """

    boxes: Floats
    """(B, N, 4) x1 y1 x2 y2, fractions of the image 0..1"""
    scores: Floats
    """(B, N) 0..1, falling"""
    labels: NDArray[np.int64]
    """(B, N) index into the contract's classes"""
    count: NDArray[np.int64]
    """(B,) boxes of each image"""
    class_map: NDArray[np.uint8] | None
    """(B, h, w) 0 background, label + 1, at the size the network saw; None without that task"""
