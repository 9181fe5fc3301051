import numpy as np

from blitznet.metrics.confusion import box_confusion
from support.metric_cases import random_case, result, sample, state_of

A, B, CLEAR = (10, 10, 30, 30), (40, 40, 80, 80), (80, 0, 95, 9)


def test_box_confusion_counted_by_hand() -> None:
    truth = sample("a", [A, B, (82, 82, 99, 99)], [0, 1, 2])
    predicted = result([A, A, B, CLEAR, A], [1, 0, 1, 2, 0], [0.9, 0.8, 0.7, 0.6, 0.2])
    expected = np.zeros((4, 4), np.int64)
    expected[1, 2] = 1  # the cat is predicted as a dog, with a higher score than the right class,
    expected[0, 1] = 1  # which is a duplicate on background
    expected[2, 2] = 1
    expected[0, 3] = 1  # a cow on background
    expected[3, 0] = 1  # a missed cow
    assert box_confusion(state_of([(predicted, truth)])).tolist() == expected.tolist()


def test_min_score_is_included() -> None:
    state = state_of([(result([A], [0], [0.3]), sample("a", [A], [0]))])
    assert box_confusion(state)[1, 1] == 1
    assert box_confusion(state, 0.31)[1].tolist() == [1, 0, 0, 0]


def test_ignored_objects_are_left_out() -> None:
    truth = sample("a", [A], [0], crowd=[True])
    assert not box_confusion(state_of([(result([A], [1], [0.9]), truth)])).any()


def test_rows_sum_to_the_objects_and_columns_to_the_boxes() -> None:
    rng = np.random.default_rng(0)
    state = state_of([random_case(rng, f"{n}") for n in range(10)])
    matrix, objects = box_confusion(state), state.objects
    assert matrix[1:].sum(1).tolist() == np.bincount(objects.label[~objects.ignored], minlength=3).tolist()
    assert matrix[:, 1:].sum() <= np.count_nonzero(state.predictions.score >= 0.3)
