from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blitznet.core.errors import DataError, UsageError
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample
from blitznet.metrics.evaluate import EvalConfig, accumulate, compare_results, compute_report, evaluate
from blitznet.metrics.results import read_results
from blitznet.postprocess.result import Result
from support.metric_cases import SIZE, MemoryDataset, random_case, result, sample


class FixedPredictor:
    """A predictor that returns a stored result for each image."""

    def __init__(self, pairs: list[tuple[Result, Sample]]) -> None:
        self.results = {id(truth.image): predicted for predicted, truth in pairs}

    def __call__(self, image: ImageSource) -> Result:
        return self.results[id(image)]


def random_cases(images: int = 14, seed: int = 0) -> tuple[FixedPredictor, list[Sample]]:
    rng = np.random.default_rng(seed)
    pairs = [random_case(rng, f"{n}") for n in range(images)]
    return FixedPredictor(pairs), [truth for _, truth in pairs]


def test_scores_counted_by_hand() -> None:
    a, b, far = (10, 10, 30, 30), (40, 40, 80, 80), (80, 5, 95, 20)
    mask, class_map = np.zeros((SIZE, SIZE), np.uint8), np.zeros((SIZE, SIZE), np.uint8)
    mask[:50], class_map[:25] = 1, 1
    truth = sample("1", [a, b, a], [0, 0, 1], mask=mask)
    predict = FixedPredictor([(result([a, far, b], [0, 0, 0], [0.9, 0.8, 0.7], class_map=class_map), truth)])
    scores = evaluate(predict, [MemoryDataset("single", (truth,))]).total
    assert (scores.title, scores.images, scores.intervals) == ("single", 1, {})
    assert scores.detection.ap50_area == pytest.approx((5 / 6 + 0) / 2)
    assert scores.detection.ap50_11point == pytest.approx((0.848485 + 0) / 2, abs=1e-6)
    assert scores.detection.ap50_frequent is scores.detection.coco_ap is None
    assert {name: (s.score, s.count) for name, s in scores.detection.per_class.items()} == {
        "cat": (pytest.approx(5 / 6), 2),
        "dog": (0.0, 1),
    }
    assert scores.segmentation.miou == pytest.approx((0.5 + 50 / 75) / 2) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert [(name, s.count) for name, s in scores.segmentation.per_class.items()] == [("background", 1), ("cat", 1)]


def test_total_of_several_sets_equals_one_set() -> None:
    predict, samples = random_cases()
    whole = evaluate(predict, [MemoryDataset("all", tuple(samples))])
    parts = evaluate(predict, [MemoryDataset("a", tuple(samples[:5])), MemoryDataset("b", tuple(samples[5:]))])
    assert [scores.images for scores in parts.sets] == [5, 9]
    assert parts.total.title == "all sets"
    assert replace(parts.total, title="all") == whole.total
    assert list(parts.to_dict()["sets"]) == ["a", "b"]


def test_order_of_images_does_not_change_the_scores() -> None:
    predict, samples = random_cases()
    config = EvalConfig(coco=True)
    forward = evaluate(predict, [MemoryDataset("a", tuple(samples))], config)
    backward = evaluate(predict, [MemoryDataset("a", tuple(reversed(samples)))], config)
    assert forward == backward


def test_ap50_frequent_is_the_mean_over_classes_with_twenty_objects() -> None:
    box = (10, 10, 30, 30)
    samples = [sample(f"{n}", [box, box] if n < 19 else [box], [0, 1] if n < 19 else [0]) for n in range(20)]
    predict = FixedPredictor([(result([box], [0], [0.9]), truth) for truth in samples])
    scores = evaluate(predict, [MemoryDataset("a", tuple(samples))]).total.detection
    assert (scores.ap50_frequent, scores.ap50_area) == (1.0, 0.5)


def test_scores_of_tasks_that_are_not_requested_are_none() -> None:
    predict, samples = random_cases(4)
    datasets = [MemoryDataset("a", tuple(samples))]
    boxes = evaluate(predict, datasets, EvalConfig(tasks=("detection",))).total
    maps = evaluate(predict, datasets, EvalConfig(tasks=("segmentation",), bootstrap=3)).total
    assert (boxes.segmentation.miou, boxes.segmentation.per_class) == (None, {})
    assert boxes.detection.ap50_area is not None
    assert (maps.detection.ap50_area, maps.detection.per_class, list(maps.intervals)) == (None, {}, ["miou"])


def test_progress_counts_the_images_of_all_sets() -> None:
    predict, samples = random_cases(4)
    calls: list[tuple[str, int, int]] = []
    datasets = [MemoryDataset("a", tuple(samples[:3])), MemoryDataset("b", tuple(samples[3:]))]
    evaluate(predict, datasets, progress=lambda label, done, total: calls.append((label, done, total)))
    assert calls == [("images", 1, 4), ("images", 2, 4), ("images", 3, 4), ("images", 4, 4)]


def test_result_file_has_the_same_scores(tmp_path: Path) -> None:
    predict, samples = random_cases()
    datasets = [MemoryDataset("a", tuple(samples[:6])), MemoryDataset("b", tuple(samples[6:]))]
    config = EvalConfig(bootstrap=20, coco=True)
    direct = evaluate(predict, datasets, config, results=tmp_path / "r.jsonl")
    states = accumulate(read_results(tmp_path / "r.jsonl").result_for, datasets, config)
    assert compute_report(["a", "b"], states, config) == direct
    differences = compare_results(tmp_path / "r.jsonl", tmp_path / "r.jsonl", datasets, rounds=10)
    assert [(d.difference, d.interval) for d in differences.values()] == [(0.0, (0.0, 0.0))] * len(differences)
    assert differences["ap50_area"].first == direct.total.detection.ap50_area


def test_compare_subtracts_the_first_from_the_second(tmp_path: Path) -> None:
    predict, samples = random_cases(40)
    datasets = [MemoryDataset("a", tuple(samples))]
    evaluate(lambda image: predict(image).filter(min_score=0.5), datasets, results=tmp_path / "few.jsonl")
    evaluate(predict, datasets, results=tmp_path / "all.jsonl")
    difference = compare_results(tmp_path / "few.jsonl", tmp_path / "all.jsonl", datasets, rounds=20)["ap50_area"]
    assert 0 < difference.interval[0] <= difference.difference <= difference.interval[1]
    assert difference.to_dict()["difference"] == difference.second - difference.first


def test_invalid_sets_are_refused() -> None:
    predict, samples = random_cases(2)
    dataset = MemoryDataset("a", tuple(samples))
    with pytest.raises(UsageError, match="expected at least one dataset, got none"):
        evaluate(predict, [])
    for texts in ("voc:a@val", ["voc:a@val"]):
        with pytest.raises(UsageError, match=r"^evaluate: expected opened datasets, got something else; "):
            evaluate(predict, texts)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="a: expected each dataset once"):
        evaluate(predict, [dataset, dataset])
    with pytest.raises(UsageError, match="b: expected the classes of a, got others"):
        evaluate(predict, [dataset, MemoryDataset("b", (), class_names=("x",))])
    with pytest.raises(DataError, match="expected a prediction of the data's 1 classes"):
        evaluate(predict, [MemoryDataset("a", tuple(samples), class_names=("x",))])
