"""TIDE: counts of six error types, and the AP50 that fixing each of them would gain.

Source: Bolya et al., TIDE, ECCV 2020, sections 2.2 and 2.3. Detections are matched as for AP50, so the gains add to
the reported figure. Fixing a type gives each object at most one detection of that type, the one with the highest
score, and removes the others. Every type is fixed alone.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from blitznet.metrics import voc_ap
from blitznet.metrics.arrays import Float64Array, Int64Array
from blitznet.metrics.bootstrap import unit_weights
from blitznet.metrics.matching import (
    FALSE_POSITIVE,
    IGNORED,
    TRUE_POSITIVE,
    ObjectTable,
    PredictionTable,
    best_pairs,
    candidate_pairs,
)
from blitznet.metrics.nanmath import mean
from blitznet.metrics.state import EvaluationState

CLASSIFICATION, LOCALIZATION, BOTH, DUPLICATE, BACKGROUND, MISSED = range(6)
ERROR_TYPES = ("classification", "localization", "both", "duplicate", "background", "missed")
"""names of the error types, by number"""

BACKGROUND_OVERLAP = 0.1
"""largest overlap with any object at which a detection is a background error"""


@dataclass(frozen=True, slots=True, eq=False)
class ClassifiedErrors:
    """The error type of every detection, and the missed objects."""

    match: Int64Array
    """(Q,) TRUE_POSITIVE, FALSE_POSITIVE or IGNORED"""
    error_type: Int64Array
    """(Q,) -1 for detections without an error"""
    target: Int64Array
    """(Q,) object that a detection with a classification or localization error is assigned to; -1 for the others"""
    matched: NDArray[np.bool_]
    """(T,) objects that a true positive matches"""
    missed: NDArray[np.bool_]
    """(T,) scored objects without a true positive and without a detection assigned to them"""


@dataclass(frozen=True, slots=True)
class ErrorImpact:
    """Frequency of an error type, and what fixing it would gain."""

    count: int
    dap50: float
    """TIDE's dAP at IoU 0.5: gain of mean AP50 (area under the curve), a fraction 0..1"""


def classify_errors(
    predictions: PredictionTable, objects: ObjectTable, rule: voc_ap.MatchRule = "devkit"
) -> ClassifiedErrors:
    """Assign an error type to every false positive; ignored objects are left out."""
    match = voc_ap.match_by_rule(predictions, objects, rule)
    (same_class, iou), (other_class, other_iou) = _nearest_objects(predictions, objects, rule)
    is_match = voc_ap.is_match(iou, rule)
    conditions = [  # in the order of the authors' code
        (match != FALSE_POSITIVE, -1),
        ((iou >= BACKGROUND_OVERLAP) & ~is_match, LOCALIZATION),
        (voc_ap.is_match(other_iou, rule), CLASSIFICATION),
        (is_match, DUPLICATE),
        (np.maximum(iou, other_iou) <= BACKGROUND_OVERLAP, BACKGROUND),
    ]
    error_type = np.select([condition for condition, _ in conditions], [number for _, number in conditions], BOTH)
    target = np.select([error_type == LOCALIZATION, error_type == CLASSIFICATION], [same_class, other_class], -1)
    matched, assigned = np.zeros((2, len(objects.image)), np.bool_)
    matched[same_class[match == TRUE_POSITIVE]] = True
    assigned[target[target >= 0]] = True
    missed = ~(objects.ignored | matched | assigned)
    return ClassifiedErrors(match=match, error_type=error_type, target=target, matched=matched, missed=missed)


def error_impacts(state: EvaluationState) -> dict[str, ErrorImpact]:
    """Count and gain of each of ERROR_TYPES; gains are 0 without objects."""
    predictions, objects, classes = state.predictions, state.objects, len(state.class_names)
    errors = classify_errors(predictions, objects, state.rule)

    def class_ap(tables: tuple[PredictionTable, ObjectTable, Int64Array]) -> Float64Array:
        curves = voc_ap.curves_from_matches(*tables, classes)
        weights = unit_weights(state.num_images)
        return np.concatenate([voc_ap.average_precision(curve, weights) for curve in curves])  # (K,)

    before = class_ap((predictions, objects, errors.match))
    occurs = ~np.isnan(before)
    impacts = {}
    for number, name in enumerate(ERROR_TYPES):
        after = np.nan_to_num(class_ap(_fix(predictions, objects, errors, number)))  # 0 if no object remains
        count = np.count_nonzero(errors.missed if number == MISSED else errors.error_type == number)
        gain = float(mean(after[occurs]) - mean(before[occurs])) if occurs.any() else 0.0
        impacts[name] = ErrorImpact(count=int(count), dap50=gain)
    return impacts


def _nearest_objects(
    predictions: PredictionTable, objects: ObjectTable, rule: voc_ap.MatchRule
) -> tuple[tuple[Int64Array, Float64Array], tuple[Int64Array, Float64Array]]:
    """The scored object with the largest overlap and the overlap, (Q,) each: of a detection's class, and of others."""
    detection, target = candidate_pairs(
        replace(predictions, label=np.zeros_like(predictions.label)),
        replace(objects, label=np.zeros_like(objects.label)),
    )
    scored = ~objects.ignored[target]
    detection, target = detection[scored], target[scored]
    overlaps = voc_ap.overlap(predictions.boxes[detection], objects.boxes[target], rule)  # (P,)
    same = predictions.label[detection] == objects.label[target]
    count = len(predictions.image)
    return (
        best_pairs(detection[same], target[same], overlaps[same], count),
        best_pairs(detection[~same], target[~same], overlaps[~same], count),
    )


def _fix(
    predictions: PredictionTable, objects: ObjectTable, errors: ClassifiedErrors, number: int
) -> tuple[PredictionTable, ObjectTable, Int64Array]:
    """Detections, objects and matches (Q,) without one error type."""
    if number == MISSED:
        return predictions, replace(objects, ignored=objects.ignored | errors.missed), errors.match
    match, label = errors.match.copy(), predictions.label.copy()
    rows = np.flatnonzero(errors.error_type == number)
    match[rows] = IGNORED
    if number in (CLASSIFICATION, LOCALIZATION):
        free = rows[~errors.matched[errors.target[rows]]]
        free = free[np.argsort(-predictions.score[free], kind="stable")]
        best = free[np.unique(errors.target[free], return_index=True)[1]]
        match[best], label[best] = TRUE_POSITIVE, objects.label[errors.target[best]]
    return replace(predictions, label=label), objects, match
