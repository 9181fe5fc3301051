import numpy as np

from blitznet.metrics.confusion import box_confusion
from support.metric_cases import drawn, evidence_of, result, sample

A, B, CLEAR = (10, 10, 30, 30), (40, 40, 80, 80), (80, 0, 95, 9)


def test_every_confident_box_and_every_object_has_its_place() -> None:
    truth = sample("a", [A, B, (82, 82, 99, 99)], [0, 1, 2])
    found = result([A, A, B, CLEAR, A], [1, 0, 1, 2, 0], [0.9, 0.8, 0.7, 0.6, 0.2])
    expected = np.zeros((4, 4), np.int64)
    expected[1, 2] = 1  # the cat was called a dog, with more confidence than the box that knew better,
    expected[0, 1] = 1  # which is one too many
    expected[2, 2] = 1
    expected[0, 3] = 1  # a cow where there is none
    expected[3, 0] = 1  # and none where there is one
    assert box_confusion(evidence_of([(found, truth)])).tolist() == expected.tolist()


def test_the_score_from_which_boxes_count_is_counted() -> None:
    evidence = evidence_of([(result([A], [0], [0.3]), sample("a", [A], [0]))])
    assert box_confusion(evidence)[1, 1] == 1
    assert box_confusion(evidence, 0.31)[1].tolist() == [1, 0, 0, 0]


def test_ignored_objects_count_nowhere() -> None:
    truth = sample("a", [A], [0], crowd=[True])
    assert not box_confusion(evidence_of([(result([A], [1], [0.9]), truth)])).any()


def test_rows_are_the_objects_and_columns_the_boxes() -> None:
    rng = np.random.default_rng(0)
    evidence = evidence_of([drawn(rng, f"{n}") for n in range(10)])
    table, objects = box_confusion(evidence), evidence.objects
    assert table[1:].sum(1).tolist() == np.bincount(objects.label[~objects.ignored], minlength=3).tolist()
    assert table[:, 1:].sum() <= np.count_nonzero(evidence.found.score >= 0.3)
