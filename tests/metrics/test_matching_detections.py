import numpy as np
import pytest

from blitznet.core.boxes import iou
from blitznet.core.sample import ANY_CLASS
from blitznet.metrics.matching import (
    FALSE_POSITIVE,
    IGNORED,
    TRUE_POSITIVE,
    Reals,
    best_objects,
    candidates,
    join_detections,
    join_objects,
    match_detections,
    object_table,
    prediction_table,
)
from support.metric_cases import result, sample

A, B = (10, 10, 30, 30), (40, 40, 80, 80)


def paired_iou(a: Reals, b: Reals) -> Reals:
    return np.array([iou(x[None], y[None])[0, 0] for x, y in zip(a, b, strict=True)], np.float64)


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
def test_one_object(
    boxes: list[tuple[int, ...]], scores: list[float], difficult: bool, crowd: bool, expected: list[int]
) -> None:
    found = prediction_table(0, result(boxes, [0] * len(boxes), scores), sample("a", box_classes=None))
    objects = object_table(0, sample("a", [A], [0], difficult=[difficult], crowd=[crowd]))
    assert match_detections(found, objects, paired_iou, lambda share: share >= 0.5).tolist() == expected


def test_only_the_object_overlapped_most_counts() -> None:
    """The better object is taken: the devkit does not fall back on the other, though it would match."""
    objects = object_table(0, sample("a", [(0, 0, 10, 10), (0, 0, 12, 10)], [0, 0]))
    found = prediction_table(0, result([(0, 0, 10, 10), (0, 0, 10.5, 10)], [0, 0], [0.9, 0.8]), sample("a"))
    assert match_detections(found, objects, paired_iou, lambda share: share >= 0.5).tolist() == [
        TRUE_POSITIVE,
        FALSE_POSITIVE,
    ]


def test_images_and_classes_do_not_meet() -> None:
    truth = sample("a", [A, A], [0, 1])
    found = join_detections((n, prediction_table(0, result([A, A], [1, 2], [0.9, 0.8]), truth)) for n in (0, 2))
    objects = join_objects((n, object_table(0, truth)) for n in (0, 1))
    assert [pair.tolist() for pair in candidates(found, objects)] == [[0], [1]]
    assert best_objects(found, objects, paired_iou)[0].tolist() == [1, -1, -1, -1]


def test_classes_not_annotated_are_left_out() -> None:
    truth = sample("a", [A, B], [0, 1], box_classes=[False, True, True])
    assert prediction_table(0, result([A, B], [0, 1], [0.9, 0.8]), truth).label.tolist() == [1]
    assert object_table(0, truth).label.tolist() == [1]


def test_what_is_found_in_a_crowd_of_any_class_counts_for_nothing() -> None:
    truth = sample("a", [(10, 10, 50, 50)], [ANY_CLASS], crowd=[True], box_classes=[False, True, True])
    found = prediction_table(
        0, result([(10, 10, 50, 50), (10, 10, 50, 49), (60, 60, 90, 90)], [1, 2, 1], [0.9, 0.8, 0.7]), truth
    )
    objects = object_table(0, truth)
    assert (objects.label.tolist(), objects.ignored.tolist()) == ([1, 2], [True, True])
    assert match_detections(found, objects, paired_iou, lambda share: share >= 0.5).tolist() == [
        IGNORED,
        IGNORED,
        FALSE_POSITIVE,
    ]


def test_nothing_at_all() -> None:
    found, objects = join_detections([]), join_objects([])
    assert match_detections(found, objects, paired_iou, lambda share: share >= 0.5).tolist() == []
