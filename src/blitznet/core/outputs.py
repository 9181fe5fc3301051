"""The output of an engine for a batch: raw network outputs, or detections of a model with NMS inside."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import Floats
from blitznet.core.errors import ModelError

OUTPUT_NAMES = ("offsets", "logits", "segmentation_logits")
"""outputs of a model file; those of a task that the model lacks are missing"""
NMS_OUTPUT_NAMES = ("boxes", "scores", "labels", "count")
"""outputs of a model file with NMS inside; a model with segmentation also has `class_map`"""


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """Raw outputs of the network for a batch; None for those of a task that the model lacks."""

    offsets: Floats | None
    """(B, A, 4) box offsets from the anchors"""
    logits: Floats | None
    """(B, A, C) class logits, background first"""
    segmentation_logits: Floats | None
    """(B, C, h, w) segmentation logits, background first"""


@dataclass(frozen=True, slots=True, eq=False)
class NmsOutputs:
    """Detections of a model file with NMS inside, for a batch, padded to N rows; rows from `count` on are padding."""

    boxes: Floats
    """(B, N, 4) x1 y1 x2 y2, fractions of the image 0..1"""
    scores: Floats
    """(B, N) 0..1, in descending order"""
    labels: NDArray[np.int64]
    """(B, N) class ids, indices into `Spec.classes`"""
    count: NDArray[np.int64]
    """(B,) number of detections of each image"""
    class_map: NDArray[np.uint8] | None
    """(B, h, w) 0 for background, label + 1 for a class, at the network's input size; None without segmentation"""


def outputs_from(arrays: Mapping[str, Any], *, source: str) -> Outputs | NmsOutputs:
    """Collect the output arrays of a model file in one value.

    Args:
        arrays: Output name -> array. In files of version 1 the segmentation logits are named `class_map`.
        source: Name of the file, for errors.

    Raises:
        ModelError: None of the expected outputs is present.
    """
    if set(NMS_OUTPUT_NAMES) <= arrays.keys():
        return NmsOutputs(class_map=arrays.get("class_map"), **{name: arrays[name] for name in NMS_OUTPUT_NAMES})
    raw = {"segmentation_logits" if name == "class_map" else name: array for name, array in arrays.items()}
    if not raw.keys() & set(OUTPUT_NAMES):
        actual = ", ".join(sorted(arrays)) or "nothing"
        raise ModelError(f"{source}: expected outputs from {', '.join(OUTPUT_NAMES)}, got {actual}")
    return Outputs(**{name: raw.get(name) for name in OUTPUT_NAMES})
