"""Average precision at overlap 0.5, as Pascal VOC's development kit counts it.

Source: VOCdevkit, VOCevaldet.m; reference: the devkit's rules on difficult objects and second matches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from blitznet.core.errors import UsageError
from blitznet.metrics.matching import (
    IGNORED,
    TRUE_POSITIVE,
    Numbers,
    ObjectTable,
    PredictionTable,
    Reals,
    match_detections,
)
from blitznet.metrics.nanmath import ratio

Rule: TypeAlias = Literal["devkit", "devkit-raw", "continuous"]
"""How boxes become overlaps, and how much of it is a match (the threshold is 0.5).

`devkit`: truth and predictions are both turned into the devkit's coordinates, which name the first and the
last pixel counted from 1 (x1 + 1, y1 + 1, x2, y2), and one pixel is added to all widths; at least 0.5 is
a match. As our boxes are pixel edges, those widths are x2 - x1 and the overlap equals the plain one.

`devkit-raw`: only the truth is turned; predictions are taken as they are, one pixel is added to their
widths too, as scripts do that hand a network's continuous boxes to the devkit; a little kinder to small
objects. At least 0.5 is a match.

`continuous`: plain overlap of the boxes, more than 0.5 is a match: the rule of the BlitzNet release.
"""
RULES: tuple[Rule, ...] = get_args(Rule)

POOLED_OBJECTS = 20
"""a class with fewer counted objects is too noisy for the pooled figure"""


def _paired_iou(a: Reals, b: Reals, added: float) -> Reals:
    """Intersection over union (P,) of paired boxes, `added` pixels on every side's length."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]) + added
    inter = np.where((sides > 0).all(1), sides.prod(1), 0.0)
    union = (a[:, 2:] - a[:, :2] + added).prod(1) + (b[:, 2:] - b[:, :2] + added).prod(1) - inter
    return ratio(inter, union, empty=0.0)


def _to_devkit(boxes: Reals) -> Reals:
    """First and last pixel, counted from 1, of boxes (P, 4) given by their edges."""
    first = np.array([1.0, 1.0, 0.0, 0.0])
    return np.asarray(boxes + first)


def overlap(found: Reals, truth: Reals, rule: Rule) -> Reals:
    """Overlap (P,) of detections (P, 4) with objects (P, 4) under a rule."""
    if rule == "continuous":
        return _paired_iou(found, truth, 0.0)
    raw = rule == "devkit-raw"
    return _paired_iou(found if raw else _to_devkit(found), _to_devkit(truth), 1.0)


def enough(share: Reals, rule: Rule) -> NDArray[np.bool_]:
    """Which overlaps are a match under a rule, any one shape."""
    return share > 0.5 if rule == "continuous" else share >= 0.5


def verdicts(found: PredictionTable, objects: ObjectTable, rule: Rule) -> Numbers:
    """Verdict (Q,) on every detection under a rule: RIGHT, WRONG or IGNORED."""
    if rule not in RULES:
        raise UsageError(f"rule: expected one of {', '.join(RULES)}, got '{rule}'")
    return match_detections(found, objects, lambda a, b: overlap(a, b, rule), lambda share: enough(share, rule))


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The judged detections of one class, highest score first; what precision and recall are made of.

    Detections of the same score enter together, so that the order of the images changes nothing.
    """

    image: Numbers
    """(Q,) image of every detection that is not ignored"""
    score: NDArray[np.float32]
    """(Q,) falling"""
    right: NDArray[np.bool_]
    """(Q,) it found an object"""
    steps: Numbers
    """(S,) last detection of every score that found something: where recall rises"""
    objects: Numbers
    """(T,) image of every object that counts"""

    def points(self, weights: Numbers) -> tuple[Numbers, Reals, Numbers]:
        """Found (R, S), precision (R, S) and objects (R,) when image n occurs weights[r, n] times; weights (R, N)."""
        times = weights[:, self.image]  # (R, Q)
        found = np.cumsum(times * self.right, axis=1)[:, self.steps]  # (R, S)
        tried = np.cumsum(times, axis=1)[:, self.steps]
        return found, found / np.maximum(tried, 1), weights[:, self.objects].sum(1)


def curves(found: PredictionTable, objects: ObjectTable, classes: int, rule: Rule = "devkit") -> tuple[Curve, ...]:
    """One curve for each of the K classes."""
    return judged_curves(found, objects, verdicts(found, objects, rule), classes)


def judged_curves(found: PredictionTable, objects: ObjectTable, verdict: Numbers, classes: int) -> tuple[Curve, ...]:
    """One curve for each of the K classes, of detections whose verdict (Q,) is known."""
    return tuple(_curve(found, objects, verdict, label) for label in range(classes))


def _curve(found: PredictionTable, objects: ObjectTable, verdict: Numbers, label: int) -> Curve:
    rows = np.flatnonzero((found.label == label) & (verdict != IGNORED))
    rows = rows[np.argsort(-found.score[rows], kind="stable")]
    right, score = verdict[rows] == TRUE_POSITIVE, found.score[rows]
    ends = np.flatnonzero(np.append(score[1:] != score[:-1], True)) if len(rows) else np.zeros(0, np.int64)
    risen = np.diff(np.cumsum(right)[ends], prepend=0) > 0
    counted = (objects.label == label) & ~objects.ignored
    return Curve(image=found.image[rows], score=score, right=right, steps=ends[risen], objects=objects.image[counted])


def area(curve: Curve, weights: Numbers) -> Reals:
    """Area (R,) under the interpolated curve (VOC2010 and later); weights (R, N); nan where nothing is to find."""
    found, precision, total = curve.points(weights)
    gained = np.diff(found, axis=1, prepend=0)
    return ratio((gained * highest(precision)).sum(1), total)


def highest(precision: Reals) -> Reals:
    """The best precision (R, S) from each step on, of precisions (R, S): the interpolated curve."""
    return np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]


def eleven_point(curve: Curve, weights: Numbers) -> Reals:
    """Mean of the best precision at recall >= 0, 0.1, ... 1 (VOC2007), (R,); nan where nothing is to find.

    Recall is compared in whole numbers, so that 3 of 10 reach 0.3.
    """
    found, precision, total = curve.points(weights)
    reached = [np.where(10 * found >= k * total[:, None], precision, 0.0).max(1, initial=0.0) for k in range(11)]
    return np.asarray(np.where(total > 0, np.mean(reached, axis=0), np.nan), np.float64)


def occurring(of: Sequence[Curve], at_least: int = 1) -> tuple[int, ...]:
    """The classes with at least so many counted objects."""
    return tuple(label for label, curve in enumerate(of) if len(curve.objects) >= at_least)
