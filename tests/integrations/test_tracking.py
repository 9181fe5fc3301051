import numpy as np
import pytest

from blitznet.integrations.tracking import NOBODY, Tracker, mot_lines
from blitznet.postprocess.result import Result


def result(*things: tuple[float, float, int, float]) -> Result:
    """Boxes of 20x20 pixels: x, y, label, score."""
    x, y, labels, scores = (np.array([thing[part] for thing in things]) for part in range(4))
    return Result(
        boxes=np.stack([x, y, x + 20, y + 20], 1).astype(np.float32),
        scores=scores.astype(np.float32),
        labels=labels.astype(np.int64),
        class_names=("cat", "dog"),
        size=(200, 200),
    )


def test_two_things_that_pass_each_other_keep_their_ids() -> None:
    tracker = Tracker(10.0)
    seen = []
    for step in range(20):
        things = [(5.0 + 8 * step, 20.0, 0, 0.9), (165.0 - 8 * step, 60.0, 0, 0.8)]
        order = things if step % 2 else things[::-1]
        ids = tracker.update(result(*order))
        seen.append(tuple(ids if step % 2 else ids[::-1]))
    assert set(seen[2:]) == {seen[2]}
    assert sorted(seen[2]) == [1, 2]


def test_classes_do_not_mix() -> None:
    tracker = Tracker(10.0)
    ids = [tracker.update(result((50.0, 50.0, step >= 5, 0.9)))[0] for step in range(10)]
    assert set(ids[2:5]) == {1}
    assert set(ids[7:]) == {2}


def test_weak_detections_go_on_with_a_track_and_begin_none() -> None:
    tracker = Tracker(10.0, sure=0.5)
    for _ in range(3):
        tracker.update(result((50.0, 50.0, 0, 0.9)))
    assert tracker.update(result((51.0, 50.0, 0, 0.2), (150.0, 150.0, 0, 0.3))).tolist() == [1, NOBODY]
    for _ in range(4):
        assert tracker.update(result((51.0, 50.0, 0, 0.9), (150.0, 150.0, 0, 0.3))).tolist() == [1, NOBODY]


@pytest.mark.parametrize(("gap", "same"), [(5, True), (25, False)])
def test_a_thing_that_is_hidden_for_a_while_comes_back_as_itself(gap: int, same: bool) -> None:
    tracker = Tracker(10.0, patience=1.0)
    empty = result((0.0, 0.0, 0, 0.9)).filter(min_score=1.0)
    for _ in range(4):
        before = tracker.update(result((50.0, 50.0, 0, 0.9)))[0]
    for _ in range(gap):
        assert tracker.update(empty).shape == (0,)
    after = [tracker.update(result((50.0, 50.0, 0, 0.9)))[0] for _ in range(4)][-1]
    assert bool(after == before) is same


def test_a_line_of_motchallenge() -> None:
    lines = mot_lines(4, result((10.0, 20.0, 0, 0.9), (5.5, 6.0, 1, 0.25)), [7, NOBODY])
    assert lines == "5,7,10.00,20.00,20.00,20.00,0.9000,-1,-1,-1\n"
