"""Average precision of small, medium and large objects by COCO's area ranges.

Source: pycocotools, cocoeval.py. Objects of other sizes are ignored, and so are unmatched detections of other sizes.
An object's area is its box's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from blitznet.metrics import voc_ap
from blitznet.metrics.arrays import Float64Array
from blitznet.metrics.bootstrap import unit_weights
from blitznet.metrics.matching import FALSE_POSITIVE, IGNORED
from blitznet.metrics.nanmath import mean, none_if_nan
from blitznet.metrics.state import EvaluationState

AREA_RANGES: Mapping[str, tuple[float, float]] = {
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, np.inf),
}
"""lowest and highest area in pixels, both included"""


@dataclass(frozen=True, slots=True)
class SizeScore:
    """Score of the objects of one size."""

    ap50: float | None
    """mean over the classes with objects of this size, area under the curve; None without objects"""
    objects: int
    """scored objects of this size"""


def ap_by_size(state: EvaluationState) -> dict[str, SizeScore]:
    """AP50 of each size of AREA_RANGES."""
    return {name: _score_range(state, low, high) for name, (low, high) in AREA_RANGES.items()}


def _score_range(state: EvaluationState, low: float, high: float) -> SizeScore:
    predictions, weights = state.predictions, unit_weights(state.num_images)
    outside = _outside(state.objects.boxes, low, high)
    objects = replace(state.objects, ignored=state.objects.ignored | outside)
    match = voc_ap.match_by_rule(predictions, objects, state.rule)
    match[(match == FALSE_POSITIVE) & _outside(predictions.boxes, low, high)] = IGNORED
    curves = voc_ap.curves_from_matches(predictions, objects, match, len(state.class_names))
    ap50 = float(mean(np.concatenate([voc_ap.average_precision(curve, weights) for curve in curves])))
    return SizeScore(ap50=none_if_nan(ap50), objects=int(np.count_nonzero(~objects.ignored)))


def _outside(boxes: Float64Array, low: float, high: float) -> NDArray[np.bool_]:
    """(N,) boxes (N, 4) whose area is out of range."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return np.asarray((areas < low) | (areas > high), np.bool_)
