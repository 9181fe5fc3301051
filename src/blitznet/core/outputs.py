"""What an engine returns for a batch: raw network outputs, or detections of a model with NMS inside."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import Floats
from blitznet.core.errors import ModelError

OUTPUT_NAMES = ("offsets", "logits", "segmentation_logits")
"""outputs of a model file; a model without one of the tasks lacks its outputs"""
NMS_OUTPUT_NAMES = ("boxes", "scores", "labels", "count")
"""outputs of a model file with NMS inside; `class_map` is added if it has that task"""


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


def outputs_from(arrays: Mapping[str, Any], *, source: str) -> Outputs | NmsOutputs:
    """A model file's output arrays by name; `source` names the file in errors.

    Version 1 files call the segmentation logits `class_map`.

    Raises:
        ModelError: None of the expected outputs is there.
    """
    if set(NMS_OUTPUT_NAMES) <= arrays.keys():
        return NmsOutputs(class_map=arrays.get("class_map"), **{name: arrays[name] for name in NMS_OUTPUT_NAMES})
    raw = {"segmentation_logits" if name == "class_map" else name: array for name, array in arrays.items()}
    if not raw.keys() & set(OUTPUT_NAMES):
        actual = ", ".join(sorted(arrays)) or "nothing"
        raise ModelError(f"{source}: expected outputs from {', '.join(OUTPUT_NAMES)}, got {actual}")
    return Outputs(**{name: raw.get(name) for name in OUTPUT_NAMES})
