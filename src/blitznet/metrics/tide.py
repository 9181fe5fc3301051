"""What kind of error costs how much: TIDE's six kinds, and the AP50 that mending each would give.

Source: Bolya et al., TIDE, ECCV 2020, 2.2-2.3. Detections are judged as for AP50, by the development kit's rules, so
that the gains stand on the figure of the report. Of several detections that mending would bring to one
object the best of the kind is right and the others go; every kind is mended alone.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from blitznet.metrics import voc_ap
from blitznet.metrics.bootstrap import once
from blitznet.metrics.evidence import EvaluationState
from blitznet.metrics.matching import (
    FALSE_POSITIVE,
    IGNORED,
    TRUE_POSITIVE,
    Numbers,
    ObjectTable,
    PredictionTable,
    Reals,
    candidates,
    closest,
)
from blitznet.metrics.nanmath import mean

CLASSIFICATION, LOCALISATION, BOTH, DUPLICATE, BACKGROUND, MISSED = range(6)
KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
"""the kinds' names, by their number"""

NOTHING = 0.1
"""overlap up to which a detection has nothing to do with an object"""


@dataclass(frozen=True, slots=True, eq=False)
class Faults:
    """What is wrong with every detection, and which objects no detection comes near."""

    verdict: Numbers
    """(Q,) RIGHT, WRONG or IGNORED"""
    kind: Numbers
    """(Q,) the kind of error, -1 where nothing is wrong"""
    thing: Numbers
    """(Q,) the object that a detection of the wrong class or place would find, -1 for the others"""
    taken: NDArray[np.bool_]
    """(T,) objects that were found"""
    missed: NDArray[np.bool_]
    """(T,) counted objects that were not found, nor would be with the right class or place"""


@dataclass(frozen=True, slots=True)
class ErrorImpact:
    """How often a kind of error occurs, and what mending it would give."""

    count: int
    ap50: float
    """fraction 0..1 by which the mean AP50 (area rule) would rise"""


def faults(found: PredictionTable, objects: ObjectTable, rule: voc_ap.Rule = "devkit") -> Faults:
    """The kind of every error; objects that are ignored in scoring are not there."""
    verdict = voc_ap.verdicts(found, objects, rule)
    (own, most), (other, most_other) = _nearest(found, objects, rule)
    fits = voc_ap.enough(most, rule)
    tests = [  # in the order of the authors' program
        (verdict != FALSE_POSITIVE, -1),
        ((most >= NOTHING) & ~fits, LOCALISATION),
        (voc_ap.enough(most_other, rule), CLASSIFICATION),
        (fits, DUPLICATE),
        (np.maximum(most, most_other) <= NOTHING, BACKGROUND),
    ]
    kind = np.select([test for test, _ in tests], [number for _, number in tests], BOTH)
    thing = np.select([kind == LOCALISATION, kind == CLASSIFICATION], [own, other], -1)
    taken, near = np.zeros((2, len(objects.image)), np.bool_)
    taken[own[verdict == TRUE_POSITIVE]] = True
    near[thing[thing >= 0]] = True
    return Faults(verdict=verdict, kind=kind, thing=thing, taken=taken, missed=~(objects.ignored | taken | near))


def gains(evidence: EvaluationState) -> dict[str, ErrorImpact]:
    """Count and gain of each of KINDS; 0 where there is no object to find."""
    found, objects, classes = evidence.found, evidence.objects, len(evidence.class_names)
    fault = faults(found, objects, evidence.rule)

    def areas(mended: tuple[PredictionTable, ObjectTable, Numbers]) -> Reals:
        made = voc_ap.judged_curves(*mended, classes)
        return np.concatenate([voc_ap.area(curve, once(evidence.images)) for curve in made])  # (K,)

    before = areas((found, objects, fault.verdict))
    occurs = ~np.isnan(before)
    result = {}
    for kind, name in enumerate(KINDS):
        after = np.nan_to_num(areas(_mend(found, objects, fault, kind)))  # nothing left to find: 0, as before
        count = np.count_nonzero(fault.missed if kind == MISSED else fault.kind == kind)
        gained = float(mean(after[occurs]) - mean(before[occurs])) if occurs.any() else 0.0
        result[name] = ErrorImpact(count=int(count), ap50=gained)
    return result


def _nearest(
    found: PredictionTable, objects: ObjectTable, rule: voc_ap.Rule
) -> tuple[tuple[Numbers, Reals], tuple[Numbers, Reals]]:
    """Of each detection the nearest counted object and its overlap, (Q,) each: of its own class, and of the others."""
    detection, thing = candidates(
        replace(found, label=np.zeros_like(found.label)), replace(objects, label=np.zeros_like(objects.label))
    )
    counted = ~objects.ignored[thing]
    detection, thing = detection[counted], thing[counted]
    shared = voc_ap.overlap(found.boxes[detection], objects.boxes[thing], rule)  # (P,)
    own = found.label[detection] == objects.label[thing]
    count = len(found.image)
    return (
        closest(detection[own], thing[own], shared[own], count),
        closest(detection[~own], thing[~own], shared[~own], count),
    )


def _mend(
    found: PredictionTable, objects: ObjectTable, fault: Faults, kind: int
) -> tuple[PredictionTable, ObjectTable, Numbers]:
    """Detections, objects and verdicts (Q,) without one kind of error."""
    if kind == MISSED:
        return found, replace(objects, ignored=objects.ignored | fault.missed), fault.verdict
    verdict, label = fault.verdict.copy(), found.label.copy()
    wrong = np.flatnonzero(fault.kind == kind)
    verdict[wrong] = IGNORED
    if kind in (CLASSIFICATION, LOCALISATION):
        free = wrong[~fault.taken[fault.thing[wrong]]]
        free = free[np.argsort(-found.score[free], kind="stable")]
        best = free[np.unique(fault.thing[free], return_index=True)[1]]
        verdict[best], label[best] = TRUE_POSITIVE, objects.label[fault.thing[best]]
    return replace(found, label=label), objects, verdict
