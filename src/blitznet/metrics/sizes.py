"""Average precision of small, medium and large objects, by COCO's bounds.

Source: pycocotools, cocoeval.py: objects of other sizes are ignored, and so are detections of other sizes that find
nothing. An object's area is its box's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from blitznet.metrics import voc_ap
from blitznet.metrics.bootstrap import once
from blitznet.metrics.evidence import EvaluationState
from blitznet.metrics.matching import FALSE_POSITIVE, IGNORED, Reals
from blitznet.metrics.nanmath import mean

BOUNDS: Mapping[str, tuple[float, float]] = {
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, np.inf),
}
"""areas in pixels; an object on a bound is of both sizes"""


@dataclass(frozen=True, slots=True)
class SizeScore:
    """What the objects of one size scored."""

    ap50: float | None
    """area rule, mean over the classes with such objects; None where there is none"""
    objects: int


def by_size(evidence: EvaluationState) -> dict[str, SizeScore]:
    """AP50 of each size of BOUNDS."""
    return {name: _scored(evidence, low, high) for name, (low, high) in BOUNDS.items()}


def _scored(evidence: EvaluationState, low: float, high: float) -> SizeScore:
    found, weights = evidence.found, once(evidence.images)
    other = _outside(evidence.objects.boxes, low, high)
    objects = replace(evidence.objects, ignored=evidence.objects.ignored | other)
    verdict = voc_ap.verdicts(found, objects, evidence.rule)
    verdict[(verdict == FALSE_POSITIVE) & _outside(found.boxes, low, high)] = IGNORED
    curves = voc_ap.judged_curves(found, objects, verdict, len(evidence.class_names))
    value = float(mean(np.concatenate([voc_ap.area(curve, weights) for curve in curves])))
    return SizeScore(ap50=None if np.isnan(value) else value, objects=int(np.count_nonzero(~objects.ignored)))


def _outside(boxes: Reals, low: float, high: float) -> NDArray[np.bool_]:
    """(N,) boxes (N, 4) whose area is not within the bounds."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return np.asarray((areas < low) | (areas > high), np.bool_)
