import numpy as np
import pytest

from blitznet.integrations.tracking import NO_TRACK, Tracker, to_mot_lines
from blitznet.postprocess.result import Result


def make_result(*objects: tuple[float, float, int, float]) -> Result:
    """Boxes of 20 x 20 pixels, each given as x, y, label and score."""
    x, y, labels, scores = (np.array([values[column] for values in objects]) for column in range(4))
    return Result(
        boxes=np.stack([x, y, x + 20, y + 20], 1).astype(np.float32),
        scores=scores.astype(np.float32),
        labels=labels.astype(np.int64),
        class_names=("cat", "dog"),
        size=(200, 200),
    )


def test_objects_that_pass_each_other_keep_their_ids() -> None:
    tracker = Tracker(10.0)
    history = []
    for step in range(20):
        objects = [(5.0 + 8 * step, 20.0, 0, 0.9), (165.0 - 8 * step, 60.0, 0, 0.8)]
        ids = tracker.update(make_result(*(objects if step % 2 else objects[::-1])))
        history.append(tuple(ids if step % 2 else ids[::-1]))
    assert set(history[2:]) == {history[2]}
    assert sorted(history[2]) == [1, 2]


def test_a_track_has_one_class() -> None:
    tracker = Tracker(10.0)
    ids = [tracker.update(make_result((50.0, 50.0, step >= 5, 0.9)))[0] for step in range(10)]
    assert set(ids[2:5]) == {1}
    assert set(ids[7:]) == {2}


def test_low_scores_continue_a_track_and_start_none() -> None:
    tracker = Tracker(10.0, activation_threshold=0.5)
    for _ in range(3):
        tracker.update(make_result((50.0, 50.0, 0, 0.9)))
    assert tracker.update(make_result((51.0, 50.0, 0, 0.2), (150.0, 150.0, 0, 0.3))).tolist() == [1, NO_TRACK]
    for _ in range(4):
        assert tracker.update(make_result((51.0, 50.0, 0, 0.9), (150.0, 150.0, 0, 0.3))).tolist() == [1, NO_TRACK]


@pytest.mark.parametrize(("gap", "same"), [(5, True), (25, False)])
def test_a_track_survives_a_gap_of_lost_seconds(gap: int, same: bool) -> None:
    tracker = Tracker(10.0, lost_seconds=1.0)
    empty = make_result((0.0, 0.0, 0, 0.9)).filter(min_score=1.0)
    for _ in range(4):
        before = tracker.update(make_result((50.0, 50.0, 0, 0.9)))[0]
    for _ in range(gap):
        assert tracker.update(empty).shape == (0,)
    after = [tracker.update(make_result((50.0, 50.0, 0, 0.9)))[0] for _ in range(4)][-1]
    assert bool(after == before) is same


def test_mot_lines_count_from_one_and_omit_detections_without_a_track() -> None:
    lines = to_mot_lines(4, make_result((10.0, 20.0, 0, 0.9), (5.5, 6.0, 1, 0.25)), [7, NO_TRACK])
    assert lines == "5,7,10.00,20.00,20.00,20.00,0.9000,-1,-1,-1\n"
