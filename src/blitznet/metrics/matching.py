"""Which detection found which object: the matching under every average precision.

Images are numbered and everything lies in flat arrays (Q detections, T objects over all images), so that
no loop runs over images or detections.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from blitznet.core.sample import ANY_CLASS, Sample
from blitznet.postprocess.result import Result

Numbers: TypeAlias = NDArray[np.int64]
"""(Q,) or (T,) indices"""
Reals: TypeAlias = NDArray[np.float64]
"""any shape; the docstring gives the legend"""
Overlap: TypeAlias = Callable[[Reals, Reals], Reals]
"""overlap (P,) of box pairs: detections (P, 4) and objects (P, 4), both x1 y1 x2 y2"""

TRUE_POSITIVE, FALSE_POSITIVE, IGNORED = 1, 0, -1
"""verdicts on a detection"""


@dataclass(frozen=True, slots=True, eq=False)
class PredictionTable:
    """All detections that count, image after image."""

    image: Numbers
    """(Q,) number of the image"""
    label: Numbers
    """(Q,) 0..K-1"""
    boxes: Reals
    """(Q, 4) x1 y1 x2 y2 pixels"""
    score: NDArray[np.float32]
    """(Q,)"""


@dataclass(frozen=True, slots=True, eq=False)
class ObjectTable:
    """All annotated objects, image after image."""

    image: Numbers
    """(T,) number of the image"""
    label: Numbers
    """(T,) 0..K-1"""
    boxes: Reals
    """(T, 4) x1 y1 x2 y2 pixels"""
    ignored: NDArray[np.bool_]
    """(T,) difficult objects and crowd regions: neither found nor missed"""


def prediction_table(image: int, result: Result, sample: Sample) -> PredictionTable:
    """One image's detections, without those of classes that nobody annotated there."""
    known = sample.annotated_box_classes[result.labels]
    return PredictionTable(
        image=np.full(np.count_nonzero(known), image, np.int64),
        label=result.labels[known].astype(np.int64),
        boxes=result.boxes[known].astype(np.float64),
        score=result.scores[known].astype(np.float32),
    )


def object_table(image: int, sample: Sample) -> ObjectTable:
    """One image's objects of the classes that were annotated there; a crowd of any class stands for one of each."""
    whole = sample.labels == ANY_CLASS
    known = ~whole & sample.annotated_box_classes[sample.labels]
    classes = np.flatnonzero(sample.annotated_box_classes)
    anything = np.repeat(np.flatnonzero(whole), len(classes))
    which = np.concatenate([np.flatnonzero(known), anything])
    label = np.concatenate([sample.labels[known], np.tile(classes, np.count_nonzero(whole))])
    return ObjectTable(
        image=np.full(len(which), image, np.int64),
        label=label.astype(np.int64),
        boxes=sample.boxes[which].astype(np.float64),
        ignored=(sample.difficult | sample.crowd)[which],
    )


def join_detections(parts: Iterable[tuple[int, PredictionTable]]) -> PredictionTable:
    """One table of several, each part's image numbers moved up by the number beside it."""
    rows = list(parts)
    return PredictionTable(
        image=np.concatenate([np.zeros(0, np.int64), *(part.image + start for start, part in rows)]),
        label=np.concatenate([np.zeros(0, np.int64), *(part.label for _, part in rows)]),
        boxes=np.concatenate([np.zeros((0, 4)), *(part.boxes for _, part in rows)]),
        score=np.concatenate([np.zeros(0, np.float32), *(part.score for _, part in rows)]),
    )


def join_objects(parts: Iterable[tuple[int, ObjectTable]]) -> ObjectTable:
    """One table of several, each part's image numbers moved up by the number beside it."""
    rows = list(parts)
    return ObjectTable(
        image=np.concatenate([np.zeros(0, np.int64), *(part.image + start for start, part in rows)]),
        label=np.concatenate([np.zeros(0, np.int64), *(part.label for _, part in rows)]),
        boxes=np.concatenate([np.zeros((0, 4)), *(part.boxes for _, part in rows)]),
        ignored=np.concatenate([np.zeros(0, np.bool_), *(part.ignored for _, part in rows)]),
    )


def candidates(found: PredictionTable, objects: ObjectTable) -> tuple[Numbers, Numbers]:
    """All (detection, object) index pairs (P,), (P,) of one image and class; detections rise, objects rise in each."""
    classes = 1 + max(found.label.max(initial=0), objects.label.max(initial=0))
    expected = found.image * classes + found.label  # (Q,)
    offered = objects.image * classes + objects.label  # (T,)
    order = np.argsort(offered, kind="stable")
    first = np.searchsorted(offered[order], expected, "left")
    count = np.searchsorted(offered[order], expected, "right") - first
    detection = np.repeat(np.arange(len(expected)), count)  # (P,)
    step = np.arange(len(detection)) - np.repeat(np.cumsum(count) - count, count)
    return detection, order[np.repeat(first, count) + step]


def best_objects(found: PredictionTable, objects: ObjectTable, overlap: Overlap) -> tuple[Numbers, Reals]:
    """For every detection the object it overlaps most (Q,) and how much (Q,); -1 and 0 where there is none.

    Of objects that overlap equally the first counts, as in the devkit.
    """
    detection, thing = candidates(found, objects)
    shared = overlap(found.boxes[detection], objects.boxes[thing])  # (P,)
    return closest(detection, thing, shared, len(found.image))


def closest(detection: Numbers, thing: Numbers, shared: Reals, detections: int) -> tuple[Numbers, Reals]:
    """For each of Q detections its pair of most overlap: the object (Q,) and how much (Q,); -1 and 0 without a pair.

    Pairs (P,) are a detection, an object and their overlap, detections rising.
    """
    best, most = np.full(detections, -1, np.int64), np.zeros(detections)
    rank = np.lexsort((thing, -shared, detection))
    leads = rank[np.flatnonzero(np.diff(detection[rank], prepend=-1))]
    best[detection[leads]], most[detection[leads]] = thing[leads], shared[leads]
    return best, most


def match_detections(
    found: PredictionTable, objects: ObjectTable, overlap: Overlap, enough: Callable[[Reals], NDArray[np.bool_]]
) -> Numbers:
    """Verdict (Q,) on every detection: RIGHT, WRONG or IGNORED.

    A detection is held against the object it overlaps most, even if that one is taken: the second match
    is wrong. One that meets an ignored object is ignored. `enough` says which overlaps are a match.
    """
    best, most = best_objects(found, objects, overlap)
    meets = (best >= 0) & enough(most)
    verdict = np.full(len(best), FALSE_POSITIVE, np.int64)
    ignored = np.flatnonzero(meets)[objects.ignored[best[meets]]]
    verdict[ignored] = IGNORED
    meets[ignored] = False
    claims = np.flatnonzero(meets)
    claims = claims[np.argsort(-found.score[claims], kind="stable")]
    verdict[claims[np.unique(best[claims], return_index=True)[1]]] = TRUE_POSITIVE
    return verdict
