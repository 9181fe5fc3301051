import numpy as np
import pytest

from blitznet.core.errors import DataError
from blitznet.metrics.bootstrap import once
from blitznet.metrics.evidence import Collector, concatenate
from support.metric_cases import NAMES, SIDE, drawn, result, sample


def test_pooled_sets_are_one_set() -> None:
    rng = np.random.default_rng(0)
    pairs = [drawn(rng, f"{n}") for n in range(9)]
    whole, halves = Collector(NAMES), (Collector(NAMES), Collector(NAMES))
    for n, pair in enumerate(pairs):
        whole.update(*pair)
        halves[n > 3].update(*pair)
    one, joined = whole.evidence(), concatenate([half.evidence() for half in halves])
    assert joined.images == one.images == 9
    assert joined.mapped.tolist() == one.mapped.tolist()
    for name, value in one.statistics(once(9)).items():
        np.testing.assert_array_equal(joined.statistics(once(9))[name], value)


def test_what_is_not_annotated_or_not_asked_for_is_not_measured() -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    unboxed = sample("a", box_classes=[False] * 3, mask=mask)
    bare = sample("b", [(0, 0, 9, 9)], [0])
    collector = Collector(NAMES)
    collector.update(result([(0, 0, 9, 9)], [0], [0.9], class_map=mask), unboxed)
    assert not collector.evidence().boxed
    assert collector.evidence().mapped.tolist() == [0]
    collector.update(result(class_map=mask), bare)
    assert collector.evidence().boxed
    assert collector.evidence().mapped.tolist() == [0]
    neither = Collector(NAMES, detection=False, segmentation=False)
    neither.update(result(class_map=mask), sample("c", [(0, 0, 9, 9)], [0], mask=mask))
    assert not neither.evidence().boxed
    assert not len(neither.evidence().tables)


def test_other_classes() -> None:
    with pytest.raises(
        DataError, match=r"7: expected a prediction of the data's 3 classes \(cat, dog, cow\), got 1 \(x"
    ):
        Collector(NAMES).update(result(names=("x",)), sample("7"))


def test_class_map_of_another_size() -> None:
    truth = sample("7", mask=np.zeros((4, 5), np.uint8))
    with pytest.raises(DataError, match=r"7: class map: expected \(4, 5\) as in the truth"):
        Collector(NAMES).update(result(class_map=np.zeros((SIDE, SIDE), np.uint8)), truth)
