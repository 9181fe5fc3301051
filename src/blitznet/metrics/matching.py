"""Matching of detections to objects, which every average precision starts from.

Tables are flat: all detections (Q) and all objects (T) of a set lie in one array each, with the number of their
image beside them. No loop runs over images or detections.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from blitznet.core.sample import ANY_CLASS, Sample
from blitznet.metrics.arrays import Float64Array, Int64Array
from blitznet.postprocess.result import Result

Overlap: TypeAlias = Callable[[Float64Array, Float64Array], Float64Array]
"""boxes of detections (P, 4) and of objects (P, 4), both x1 y1 x2 y2 -> overlap (P,) of each pair"""

TRUE_POSITIVE, FALSE_POSITIVE, IGNORED = 1, 0, -1
"""outcomes of matching a detection; ignored detections are left out of every score"""


@dataclass(frozen=True, slots=True, eq=False)
class PredictionTable:
    """All detections that are scored, image after image."""

    image: Int64Array
    """(Q,) number of the image"""
    label: Int64Array
    """(Q,) 0..K-1"""
    boxes: Float64Array
    """(Q, 4) x1 y1 x2 y2 pixels"""
    score: NDArray[np.float32]
    """(Q,)"""


@dataclass(frozen=True, slots=True, eq=False)
class ObjectTable:
    """All annotated objects, image after image."""

    image: Int64Array
    """(T,) number of the image"""
    label: Int64Array
    """(T,) 0..K-1"""
    boxes: Float64Array
    """(T, 4) x1 y1 x2 y2 pixels"""
    ignored: NDArray[np.bool_]
    """(T,) whether an object is difficult or a crowd region; such objects count neither as matched nor as missed"""


def prediction_table(image: int, result: Result, sample: Sample) -> PredictionTable:
    """One image's detections of the classes that are annotated in it."""
    annotated = sample.annotated_box_classes[result.labels]
    return PredictionTable(
        image=np.full(np.count_nonzero(annotated), image, np.int64),
        label=result.labels[annotated].astype(np.int64),
        boxes=result.boxes[annotated].astype(np.float64),
        score=result.scores[annotated].astype(np.float32),
    )


def object_table(image: int, sample: Sample) -> ObjectTable:
    """One image's objects of the annotated classes; a crowd of any class is repeated for each of them."""
    any_class = sample.labels == ANY_CLASS
    annotated = ~any_class & sample.annotated_box_classes[sample.labels]
    classes = np.flatnonzero(sample.annotated_box_classes)
    repeated = np.repeat(np.flatnonzero(any_class), len(classes))
    index = np.concatenate([np.flatnonzero(annotated), repeated])
    label = np.concatenate([sample.labels[annotated], np.tile(classes, np.count_nonzero(any_class))])
    return ObjectTable(
        image=np.full(len(index), image, np.int64),
        label=label.astype(np.int64),
        boxes=sample.boxes[index].astype(np.float64),
        ignored=(sample.difficult | sample.crowd)[index],
    )


def concatenate_predictions(parts: Iterable[tuple[int, PredictionTable]]) -> PredictionTable:
    """One table of several (offset, table) pairs; the offset is added to a table's image numbers."""
    tables = list(parts)
    return PredictionTable(
        image=np.concatenate([np.zeros(0, np.int64), *(table.image + offset for offset, table in tables)]),
        label=np.concatenate([np.zeros(0, np.int64), *(table.label for _, table in tables)]),
        boxes=np.concatenate([np.zeros((0, 4)), *(table.boxes for _, table in tables)]),
        score=np.concatenate([np.zeros(0, np.float32), *(table.score for _, table in tables)]),
    )


def concatenate_objects(parts: Iterable[tuple[int, ObjectTable]]) -> ObjectTable:
    """One table of several (offset, table) pairs; the offset is added to a table's image numbers."""
    tables = list(parts)
    return ObjectTable(
        image=np.concatenate([np.zeros(0, np.int64), *(table.image + offset for offset, table in tables)]),
        label=np.concatenate([np.zeros(0, np.int64), *(table.label for _, table in tables)]),
        boxes=np.concatenate([np.zeros((0, 4)), *(table.boxes for _, table in tables)]),
        ignored=np.concatenate([np.zeros(0, np.bool_), *(table.ignored for _, table in tables)]),
    )


def candidate_pairs(predictions: PredictionTable, objects: ObjectTable) -> tuple[Int64Array, Int64Array]:
    """All (detection, object) index pairs (P,), (P,) of the same image and class, sorted by detection, then object."""
    classes = 1 + max(predictions.label.max(initial=0), objects.label.max(initial=0))
    prediction_key = predictions.image * classes + predictions.label  # (Q,)
    object_key = objects.image * classes + objects.label  # (T,)
    order = np.argsort(object_key, kind="stable")
    first = np.searchsorted(object_key[order], prediction_key, "left")
    count = np.searchsorted(object_key[order], prediction_key, "right") - first
    detection = np.repeat(np.arange(len(prediction_key)), count)  # (P,)
    step = np.arange(len(detection)) - np.repeat(np.cumsum(count) - count, count)
    return detection, order[np.repeat(first, count) + step]


def best_objects(
    predictions: PredictionTable, objects: ObjectTable, overlap: Overlap
) -> tuple[Int64Array, Float64Array]:
    """Find the object with the largest overlap for every detection.

    Of objects with equal overlap the first is taken, as in the VOC devkit.

    Returns:
        Object (Q,), -1 without a candidate, and overlap (Q,), 0 without a candidate.
    """
    detection, target = candidate_pairs(predictions, objects)
    overlaps = overlap(predictions.boxes[detection], objects.boxes[target])  # (P,)
    return best_pairs(detection, target, overlaps, len(predictions.image))


def best_pairs(
    detection: Int64Array, target: Int64Array, overlaps: Float64Array, num_detections: int
) -> tuple[Int64Array, Float64Array]:
    """Find the pair with the largest overlap for each of Q detections.

    Args:
        detection: (P,) detection of each pair, ascending.
        target: (P,) object of each pair.
        overlaps: (P,) overlap of each pair.
        num_detections: Q.

    Returns:
        Object (Q,), -1 without a pair, and overlap (Q,), 0 without a pair.
    """
    best, most = np.full(num_detections, -1, np.int64), np.zeros(num_detections)
    order = np.lexsort((target, -overlaps, detection))
    first = order[np.flatnonzero(np.diff(detection[order], prepend=-1))]
    best[detection[first]], most[detection[first]] = target[first], overlaps[first]
    return best, most


def match_detections(
    predictions: PredictionTable,
    objects: ObjectTable,
    overlap: Overlap,
    is_match: Callable[[Float64Array], NDArray[np.bool_]],
) -> Int64Array:
    """Match every detection to the object it overlaps most, highest score first.

    A detection whose best object is already matched is a false positive, even if it overlaps another object
    enough. A detection that matches an ignored object is ignored.

    Args:
        predictions: All detections.
        objects: All annotated objects.
        overlap: Overlap of paired boxes.
        is_match: Overlaps (P,) -> which of them are a match.

    Returns:
        (Q,) TRUE_POSITIVE, FALSE_POSITIVE or IGNORED.
    """
    best, most = best_objects(predictions, objects, overlap)
    matched = (best >= 0) & is_match(most)
    match = np.full(len(best), FALSE_POSITIVE, np.int64)
    ignored = np.flatnonzero(matched)[objects.ignored[best[matched]]]
    match[ignored] = IGNORED
    matched[ignored] = False
    rows = np.flatnonzero(matched)
    rows = rows[np.argsort(-predictions.score[rows], kind="stable")]
    match[rows[np.unique(best[rows], return_index=True)[1]]] = TRUE_POSITIVE
    return match
