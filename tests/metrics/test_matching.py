import numpy as np
import pytest

from blitznet.core.boxes import iou
from blitznet.core.sample import ANY_CLASS
from blitznet.metrics.arrays import Float64Array
from blitznet.metrics.matching import (
    FALSE_POSITIVE,
    IGNORED,
    TRUE_POSITIVE,
    ObjectTable,
    PredictionTable,
    best_objects,
    candidate_pairs,
    concatenate_objects,
    concatenate_predictions,
    match_detections,
    object_table,
    prediction_table,
)
from support.metric_cases import result, sample

A, B = (10, 10, 30, 30), (40, 40, 80, 80)


def paired_iou(a: Float64Array, b: Float64Array) -> Float64Array:
    return np.array([iou(x[None], y[None])[0, 0] for x, y in zip(a, b, strict=True)], np.float64)


def match_at_half(predictions: PredictionTable, objects: ObjectTable) -> list[int]:
    matches: list[int] = match_detections(predictions, objects, paired_iou, lambda overlap: overlap >= 0.5).tolist()
    return matches


@pytest.mark.parametrize(
    ("boxes", "scores", "difficult", "crowd", "expected"),
    [
        ([A], [0.9], False, False, [TRUE_POSITIVE]),
        ([A, A], [0.9, 0.8], False, False, [TRUE_POSITIVE, FALSE_POSITIVE]),
        ([A, A], [0.8, 0.9], False, False, [FALSE_POSITIVE, TRUE_POSITIVE]),
        ([A, A], [0.5, 0.5], False, False, [TRUE_POSITIVE, FALSE_POSITIVE]),
        ([B], [0.9], False, False, [FALSE_POSITIVE]),
        ([A, A], [0.9, 0.8], True, False, [IGNORED, IGNORED]),
        ([A, A], [0.9, 0.8], False, True, [IGNORED, IGNORED]),
    ],
)
def test_match_with_one_object(
    boxes: list[tuple[int, ...]], scores: list[float], difficult: bool, crowd: bool, expected: list[int]
) -> None:
    predictions = prediction_table(0, result(boxes, [0] * len(boxes), scores), sample("a", box_classes=None))
    objects = object_table(0, sample("a", [A], [0], difficult=[difficult], crowd=[crowd]))
    assert match_at_half(predictions, objects) == expected


def test_match_tries_the_object_of_most_overlap_only() -> None:
    """The best object is matched already; the devkit does not fall back on the second best."""
    objects = object_table(0, sample("a", [(0, 0, 10, 10), (0, 0, 12, 10)], [0, 0]))
    predictions = prediction_table(0, result([(0, 0, 10, 10), (0, 0, 10.5, 10)], [0, 0], [0.9, 0.8]), sample("a"))
    assert match_at_half(predictions, objects) == [TRUE_POSITIVE, FALSE_POSITIVE]


@pytest.mark.parametrize(("difficult", "expected"), [((True, False), IGNORED), ((False, True), TRUE_POSITIVE)])
def test_the_first_of_equal_objects_is_the_best(difficult: tuple[bool, bool], expected: int) -> None:
    objects = object_table(0, sample("a", [A, A], [0, 0], difficult=difficult))
    predictions = prediction_table(0, result([A], [0], [0.9]), sample("a"))
    assert match_at_half(predictions, objects) == [expected]


def test_candidates_have_the_same_image_and_class() -> None:
    truth = sample("a", [A, A], [0, 1])
    predictions = concatenate_predictions(
        (n, prediction_table(0, result([A, A], [1, 2], [0.9, 0.8]), truth)) for n in (0, 2)
    )
    objects = concatenate_objects((n, object_table(0, truth)) for n in (0, 1))
    assert [pair.tolist() for pair in candidate_pairs(predictions, objects)] == [[0], [1]]
    assert best_objects(predictions, objects, paired_iou)[0].tolist() == [1, -1, -1, -1]


def test_tables_leave_out_classes_without_annotation() -> None:
    truth = sample("a", [A, B], [0, 1], box_classes=[False, True, True])
    assert prediction_table(0, result([A, B], [0, 1], [0.9, 0.8]), truth).label.tolist() == [1]
    assert object_table(0, truth).label.tolist() == [1]


def test_detections_in_a_crowd_of_any_class_are_ignored() -> None:
    truth = sample("a", [(10, 10, 50, 50)], [ANY_CLASS], crowd=[True], box_classes=[False, True, True])
    predictions = prediction_table(
        0, result([(10, 10, 50, 50), (10, 10, 50, 49), (60, 60, 90, 90)], [1, 2, 1], [0.9, 0.8, 0.7]), truth
    )
    objects = object_table(0, truth)
    assert (objects.label.tolist(), objects.ignored.tolist()) == ([1, 2], [True, True])
    assert match_at_half(predictions, objects) == [IGNORED, IGNORED, FALSE_POSITIVE]


def test_match_of_empty_tables() -> None:
    assert match_at_half(concatenate_predictions([]), concatenate_objects([])) == []
