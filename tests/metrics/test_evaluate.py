from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blitznet.core.errors import DataError, UsageError
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample
from blitznet.metrics.evaluate import EvalConfig, compare, evaluate, evaluate_file
from blitznet.postprocess.result import Result
from support.metric_cases import SIDE, Set, drawn, result, sample


class Known:
    """A predictor that has seen the images before."""

    def __init__(self, pairs: list[tuple[Result, Sample]]) -> None:
        self.answers = {id(truth.image): found for found, truth in pairs}

    def __call__(self, image: ImageSource) -> Result:
        return self.answers[id(image)]


def made(images: int = 14, seed: int = 0) -> tuple[Known, list[Sample]]:
    rng = np.random.default_rng(seed)
    pairs = [drawn(rng, f"{n}") for n in range(images)]
    return Known(pairs), [truth for _, truth in pairs]


def test_counted_by_hand() -> None:
    a, b, far = (10, 10, 30, 30), (40, 40, 80, 80), (80, 5, 95, 20)
    mask, answer = np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), np.uint8)
    mask[:50], answer[:25] = 1, 1
    truth = sample("1", [a, b, a], [0, 0, 1], mask=mask)
    predict = Known([(result([a, far, b], [0, 0, 0], [0.9, 0.8, 0.7], class_map=answer), truth)])
    scores = evaluate(predict, [Set("one", (truth,))]).total
    assert (scores.title, scores.images, scores.intervals) == ("one", 1, {})
    assert scores.detection.ap50_area == pytest.approx((5 / 6 + 0) / 2)
    assert scores.detection.ap50_11point == pytest.approx((0.848485 + 0) / 2, abs=1e-6)
    assert scores.detection.ap50_frequent is scores.detection.coco_ap is None
    assert {name: (s.score, s.count) for name, s in scores.detection.per_class.items()} == {
        "cat": (pytest.approx(5 / 6), 2),
        "dog": (0.0, 1),
    }
    assert scores.segmentation.miou == pytest.approx((0.5 + 50 / 75) / 2) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert [(name, s.count) for name, s in scores.segmentation.per_class.items()] == [("background", 1), ("cat", 1)]


def test_several_sets_are_scored_as_one_too() -> None:
    predict, samples = made()
    whole = evaluate(predict, [Set("all", tuple(samples))])
    parts = evaluate(predict, [Set("a", tuple(samples[:5])), Set("b", tuple(samples[5:]))])
    assert [scores.images for scores in parts.sets] == [5, 9]
    assert parts.total.title == "all as one"
    assert replace(parts.total, title="all") == whole.total
    assert list(parts.to_dict()["sets"]) == ["a", "b"]


def test_order_of_images_changes_nothing() -> None:
    predict, samples = made()
    options = EvalConfig(coco=True)
    ahead = evaluate(predict, [Set("a", tuple(samples))], options)
    back = evaluate(predict, [Set("a", tuple(reversed(samples)))], options)
    assert ahead == back


def test_pooled_figure_is_over_the_classes_with_twenty_objects() -> None:
    box = (10, 10, 30, 30)
    samples = [sample(f"{n}", [box, box] if n < 19 else [box], [0, 1] if n < 19 else [0]) for n in range(20)]
    predict = Known([(result([box], [0], [0.9]), truth) for truth in samples])
    found = evaluate(predict, [Set("a", tuple(samples))]).total.detection
    assert (found.ap50_frequent, found.ap50_area) == (1.0, 0.5)


def test_tasks_that_were_not_asked_for_are_none() -> None:
    predict, samples = made(4)
    boxes = evaluate(predict, [Set("a", tuple(samples))], EvalConfig(tasks=("detection",))).total
    maps = evaluate(predict, [Set("a", tuple(samples))], EvalConfig(tasks=("segmentation",), bootstrap=3)).total
    assert (boxes.segmentation.miou, boxes.segmentation.per_class) == (None, {})
    assert boxes.detection.ap50_area is not None
    assert (maps.detection.ap50_area, maps.detection.per_class, list(maps.intervals)) == (None, {}, ["miou"])


def test_watch_sees_every_image() -> None:
    predict, samples = made(4)
    seen: list[tuple[int, int]] = []
    sets = [Set("a", tuple(samples[:3])), Set("b", tuple(samples[3:]))]
    evaluate(predict, sets, watch=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_result_file_scores_the_same_and_has_no_difference_to_itself(tmp_path: Path) -> None:
    predict, samples = made()
    sets, options = [Set("a", tuple(samples[:6])), Set("b", tuple(samples[6:]))], EvalConfig(bootstrap=20, coco=True)
    direct = evaluate(predict, sets, options, results=tmp_path / "r.jsonl")
    assert evaluate_file(tmp_path / "r.jsonl", sets, options) == direct
    same = compare(tmp_path / "r.jsonl", tmp_path / "r.jsonl", sets, rounds=10)
    assert [(d.difference, d.interval) for d in same.values()] == [(0.0, (0.0, 0.0))] * len(same)
    assert same["ap50_area"].first == direct.total.detection.ap50_area


def test_compare_says_how_far_the_second_is_ahead(tmp_path: Path) -> None:
    predict, samples = made(40)
    sets = [Set("a", tuple(samples))]
    evaluate(lambda image: predict(image).filter(min_score=0.5), sets, results=tmp_path / "few.jsonl")
    evaluate(predict, sets, results=tmp_path / "all.jsonl")
    found = compare(tmp_path / "few.jsonl", tmp_path / "all.jsonl", sets, rounds=20)["ap50_area"]
    assert 0 < found.interval[0] <= found.difference <= found.interval[1]
    assert found.to_dict()["difference"] == found.second - found.first


def test_refused(tmp_path: Path) -> None:
    predict, samples = made(2)
    one = Set("a", tuple(samples))
    with pytest.raises(UsageError, match="expected at least one data set, got none"):
        evaluate(predict, [])
    with pytest.raises(UsageError, match="a: the same data set is given twice"):
        evaluate(predict, [one, one])
    with pytest.raises(UsageError, match="b: expected the classes of a, got others"):
        evaluate(predict, [one, Set("b", (), class_names=("x",))])
    with pytest.raises(DataError, match="expected a prediction of the data's 1 classes"):
        evaluate(predict, [Set("a", tuple(samples), class_names=("x",))])
