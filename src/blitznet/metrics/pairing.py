"""Which detection found which object: the matching under every average precision.

Photos are numbered and everything lies in flat arrays (Q detections, T objects over all photos), so that
no loop runs over photos or detections.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from blitznet.core.result import Result
from blitznet.core.sample import ANY, Sample

Numbers: TypeAlias = NDArray[np.int64]
"""(Q,) or (T,) indices"""
Reals: TypeAlias = NDArray[np.float64]
"""any shape; the docstring gives the legend"""
Overlap: TypeAlias = Callable[[Reals, Reals], Reals]
"""overlap (P,) of box pairs: detections (P, 4) and objects (P, 4), both x1 y1 x2 y2"""

RIGHT, WRONG, IGNORED = 1, 0, -1
"""verdicts on a detection"""


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """All detections that count, photo after photo."""

    photo: Numbers
    """(Q,) number of the photo"""
    label: Numbers
    """(Q,) 0..K-1"""
    boxes: Reals
    """(Q, 4) x1 y1 x2 y2 pixels"""
    score: NDArray[np.float32]
    """(Q,)"""


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """All annotated objects, photo after photo."""

    photo: Numbers
    """(T,) number of the photo"""
    label: Numbers
    """(T,) 0..K-1"""
    boxes: Reals
    """(T, 4) x1 y1 x2 y2 pixels"""
    ignored: NDArray[np.bool_]
    """(T,) difficult objects and crowd regions: neither found nor missed"""


def detections_of(photo: int, result: Result, sample: Sample) -> Detections:
    """One photo's detections, without those of classes that nobody annotated there."""
    known = sample.box_classes[result.labels]
    return Detections(
        photo=np.full(np.count_nonzero(known), photo, np.int64),
        label=result.labels[known].astype(np.int64),
        boxes=result.boxes[known].astype(np.float64),
        score=result.scores[known].astype(np.float32),
    )


def objects_of(photo: int, sample: Sample) -> Objects:
    """One photo's objects of the classes that were annotated there; a crowd of any class stands for one of each."""
    whole = sample.labels == ANY
    known = ~whole & sample.box_classes[sample.labels]
    classes = np.flatnonzero(sample.box_classes)
    anything = np.repeat(np.flatnonzero(whole), len(classes))
    which = np.concatenate([np.flatnonzero(known), anything])
    label = np.concatenate([sample.labels[known], np.tile(classes, np.count_nonzero(whole))])
    return Objects(
        photo=np.full(len(which), photo, np.int64),
        label=label.astype(np.int64),
        boxes=sample.boxes[which].astype(np.float64),
        ignored=(sample.difficult | sample.crowd)[which],
    )


def join_detections(parts: Iterable[tuple[int, Detections]]) -> Detections:
    """One table of several, each part's photo numbers moved up by the number beside it."""
    rows = list(parts)
    return Detections(
        photo=np.concatenate([np.zeros(0, np.int64), *(part.photo + start for start, part in rows)]),
        label=np.concatenate([np.zeros(0, np.int64), *(part.label for _, part in rows)]),
        boxes=np.concatenate([np.zeros((0, 4)), *(part.boxes for _, part in rows)]),
        score=np.concatenate([np.zeros(0, np.float32), *(part.score for _, part in rows)]),
    )


def join_objects(parts: Iterable[tuple[int, Objects]]) -> Objects:
    """One table of several, each part's photo numbers moved up by the number beside it."""
    rows = list(parts)
    return Objects(
        photo=np.concatenate([np.zeros(0, np.int64), *(part.photo + start for start, part in rows)]),
        label=np.concatenate([np.zeros(0, np.int64), *(part.label for _, part in rows)]),
        boxes=np.concatenate([np.zeros((0, 4)), *(part.boxes for _, part in rows)]),
        ignored=np.concatenate([np.zeros(0, np.bool_), *(part.ignored for _, part in rows)]),
    )


def candidates(found: Detections, objects: Objects) -> tuple[Numbers, Numbers]:
    """All (detection, object) index pairs (P,), (P,) of one photo and class; detections rise, objects rise in each."""
    classes = 1 + max(found.label.max(initial=0), objects.label.max(initial=0))
    wanted = found.photo * classes + found.label  # (Q,)
    offered = objects.photo * classes + objects.label  # (T,)
    order = np.argsort(offered, kind="stable")
    first = np.searchsorted(offered[order], wanted, "left")
    count = np.searchsorted(offered[order], wanted, "right") - first
    detection = np.repeat(np.arange(len(wanted)), count)  # (P,)
    step = np.arange(len(detection)) - np.repeat(np.cumsum(count) - count, count)
    return detection, order[np.repeat(first, count) + step]


def best_objects(found: Detections, objects: Objects, overlap: Overlap) -> tuple[Numbers, Reals]:
    """For every detection the object it overlaps most (Q,) and how much (Q,); -1 and 0 where there is none.

    Of objects that overlap equally the first counts, as in the devkit.
    """
    detection, thing = candidates(found, objects)
    shared = overlap(found.boxes[detection], objects.boxes[thing])  # (P,)
    return closest(detection, thing, shared, len(found.photo))


def closest(detection: Numbers, thing: Numbers, shared: Reals, detections: int) -> tuple[Numbers, Reals]:
    """For each of Q detections its pair of most overlap: the object (Q,) and how much (Q,); -1 and 0 without a pair.

    Pairs (P,) are a detection, an object and their overlap, detections rising.
    """
    best, most = np.full(detections, -1, np.int64), np.zeros(detections)
    rank = np.lexsort((thing, -shared, detection))
    leads = rank[np.flatnonzero(np.diff(detection[rank], prepend=-1))]
    best[detection[leads]], most[detection[leads]] = thing[leads], shared[leads]
    return best, most


def judge(
    found: Detections, objects: Objects, overlap: Overlap, enough: Callable[[Reals], NDArray[np.bool_]]
) -> Numbers:
    """Verdict (Q,) on every detection: RIGHT, WRONG or IGNORED.

    A detection is held against the object it overlaps most, even if that one is taken: the second match
    is wrong. One that meets an ignored object is ignored. `enough` says which overlaps are a match.
    """
    best, most = best_objects(found, objects, overlap)
    meets = (best >= 0) & enough(most)
    verdict = np.full(len(best), WRONG, np.int64)
    ignored = np.flatnonzero(meets)[objects.ignored[best[meets]]]
    verdict[ignored] = IGNORED
    meets[ignored] = False
    claims = np.flatnonzero(meets)
    claims = claims[np.argsort(-found.score[claims], kind="stable")]
    verdict[claims[np.unique(best[claims], return_index=True)[1]]] = RIGHT
    return verdict
