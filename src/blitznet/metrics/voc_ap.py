"""Average precision at IoU 0.5 by the rules of the Pascal VOC development kit.

Source: VOCdevkit, VOCevaldet.m, also for difficult objects and repeated detections.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from blitznet.core.errors import UsageError
from blitznet.metrics.arrays import Float64Array, Int64Array
from blitznet.metrics.matching import IGNORED, TRUE_POSITIVE, ObjectTable, PredictionTable, match_detections
from blitznet.metrics.nanmath import ratio

MatchRule: TypeAlias = Literal["devkit", "devkit-raw", "continuous"]
"""How the overlap of two boxes is computed, and which overlaps are a match (the threshold is 0.5).

`devkit`: annotations and predictions are converted to the devkit's coordinates, which number the first and the
last pixel from 1 (x1 + 1, y1 + 1, x2, y2), and one pixel is added to every width and height. Our boxes are pixel
edges, so these widths are x2 - x1 and the overlap equals the plain IoU. At least 0.5 is a match.

`devkit-raw`: only annotations are converted. Predictions are used as they are, with one pixel added to width and
height, as scripts do that pass a network's continuous boxes to the devkit. This slightly favors small objects. At
least 0.5 is a match.

`continuous`: plain IoU of the boxes. More than 0.5 is a match. The rule of the original BlitzNet implementation.
"""
MATCH_RULES: tuple[MatchRule, ...] = get_args(MatchRule)

FREQUENT_OBJECTS = 20
"""minimum number of scored objects of a class in `ap50_frequent`; AP of rarer classes is too noisy"""


def _paired_iou(a: Float64Array, b: Float64Array, added: float) -> Float64Array:
    """IoU (P,) of paired boxes, with `added` pixels on every width and height."""
    extent = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]) + added
    intersection = np.where((extent > 0).all(1), extent.prod(1), 0.0)
    union = (a[:, 2:] - a[:, :2] + added).prod(1) + (b[:, 2:] - b[:, :2] + added).prod(1) - intersection
    return ratio(intersection, union, empty=0.0)


def _to_devkit(boxes: Float64Array) -> Float64Array:
    """First and last pixel, numbered from 1, of boxes (P, 4) given by their edges."""
    offset = np.array([1.0, 1.0, 0.0, 0.0])
    return np.asarray(boxes + offset)


def overlap(predicted: Float64Array, truth: Float64Array, rule: MatchRule) -> Float64Array:
    """Overlap (P,) of detections (P, 4) with objects (P, 4) under a rule."""
    if rule == "continuous":
        return _paired_iou(predicted, truth, 0.0)
    raw = rule == "devkit-raw"
    return _paired_iou(predicted if raw else _to_devkit(predicted), _to_devkit(truth), 1.0)


def is_match(overlaps: Float64Array, rule: MatchRule) -> NDArray[np.bool_]:
    """Which overlaps, of any shape, are a match under a rule."""
    return overlaps > 0.5 if rule == "continuous" else overlaps >= 0.5


def match_by_rule(predictions: PredictionTable, objects: ObjectTable, rule: MatchRule) -> Int64Array:
    """TRUE_POSITIVE, FALSE_POSITIVE or IGNORED (Q,) for every detection under a rule.

    Raises:
        UsageError: The rule is unknown.
    """
    if rule not in MATCH_RULES:
        raise UsageError(f"rule: expected one of {', '.join(MATCH_RULES)}, got '{rule}'")
    return match_detections(predictions, objects, lambda a, b: overlap(a, b, rule), lambda iou: is_match(iou, rule))


@dataclass(frozen=True, slots=True, eq=False)
class PrecisionRecallCurve:
    """The matched detections of one class by falling score, from which precision and recall are computed.

    Detections with equal scores count as one step, so the order of the images does not change the result.
    """

    image: Int64Array
    """(Q,) image of every detection that is not ignored"""
    score: NDArray[np.float32]
    """(Q,) descending"""
    true_positive: NDArray[np.bool_]
    """(Q,) whether a detection is a true positive"""
    steps: Int64Array
    """(S,) index of the last detection with each score at which recall rises"""
    object_image: Int64Array
    """(T,) image of every scored object"""

    def points(self, weights: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
        """True positives, precision and objects when image n counts weights[r, n] times, fractions too.

        Args:
            weights: (R, N).

        Returns:
            True positives (R, S), precision (R, S) and number of objects (R,).
        """
        repeats = weights[:, self.image]  # (R, Q)
        true_positives = np.cumsum(repeats * self.true_positive, axis=1)[:, self.steps]  # (R, S)
        detections = np.cumsum(repeats, axis=1)[:, self.steps]
        precision = ratio(true_positives, detections, empty=0.0)
        return true_positives, precision, weights[:, self.object_image].sum(1)


def precision_recall_curves(
    predictions: PredictionTable, objects: ObjectTable, num_classes: int, rule: MatchRule = "devkit"
) -> tuple[PrecisionRecallCurve, ...]:
    """One curve for each of the K classes."""
    return curves_from_matches(predictions, objects, match_by_rule(predictions, objects, rule), num_classes)


def curves_from_matches(
    predictions: PredictionTable, objects: ObjectTable, match: Int64Array, num_classes: int
) -> tuple[PrecisionRecallCurve, ...]:
    """One curve for each of the K classes, of detections that are matched already: match (Q,)."""
    return tuple(_curve(predictions, objects, match, label) for label in range(num_classes))


def _curve(predictions: PredictionTable, objects: ObjectTable, match: Int64Array, label: int) -> PrecisionRecallCurve:
    rows = np.flatnonzero((predictions.label == label) & (match != IGNORED))
    rows = rows[np.argsort(-predictions.score[rows], kind="stable")]
    true_positive, score = match[rows] == TRUE_POSITIVE, predictions.score[rows]
    ends = np.flatnonzero(np.append(score[1:] != score[:-1], True)) if len(rows) else np.zeros(0, np.int64)
    rises = np.diff(np.cumsum(true_positive)[ends], prepend=0) > 0
    scored = (objects.label == label) & ~objects.ignored
    return PrecisionRecallCurve(
        image=predictions.image[rows],
        score=score,
        true_positive=true_positive,
        steps=ends[rises],
        object_image=objects.image[scored],
    )


def average_precision(curve: PrecisionRecallCurve, weights: Float64Array) -> Float64Array:
    """Area (R,) under the interpolated curve (VOC2010 and later); weights (R, N); nan without objects."""
    true_positives, precision, total = curve.points(weights)
    gained = np.diff(true_positives, axis=1, prepend=0)
    return ratio((gained * interpolated_precision(precision)).sum(1), total)


def interpolated_precision(precision: Float64Array) -> Float64Array:
    """Highest precision (R, S) at each step or any later one, of precision (R, S)."""
    return np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]


def eleven_point_ap(curve: PrecisionRecallCurve, weights: Float64Array) -> Float64Array:
    """Mean (R,) of the highest precision at recall >= 0, 0.1, ... 1 (VOC2007); nan without objects.

    Recall is compared in whole numbers, so that 3 of 10 objects reach 0.3.

    Args:
        curve: Curve of one class.
        weights: (R, N) number of times that image n is repeated.
    """
    true_positives, precision, total = curve.points(weights)
    highest = [
        np.where(10 * true_positives >= k * total[:, None], precision, 0.0).max(1, initial=0.0) for k in range(11)
    ]
    return np.asarray(np.where(total > 0, np.mean(highest, axis=0), np.nan), np.float64)


def classes_with_objects(curves: Sequence[PrecisionRecallCurve], at_least: int = 1) -> tuple[int, ...]:
    """The classes with at least this many scored objects."""
    return tuple(label for label, curve in enumerate(curves) if len(curve.object_image) >= at_least)
