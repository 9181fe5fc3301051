from typing import Any

import numpy as np
import pytest

from blitznet.core.errors import UsageError
from blitznet.core.sample import Sample
from blitznet.metrics.bootstrap import unit_weights
from blitznet.metrics.matching import concatenate_objects, concatenate_predictions, object_table, prediction_table
from blitznet.metrics.voc_ap import (
    MATCH_RULES,
    MatchRule,
    PrecisionRecallCurve,
    average_precision,
    classes_with_objects,
    eleven_point_ap,
    overlap,
    precision_recall_curves,
)
from blitznet.postprocess.result import Result
from support.metric_cases import random_case, result, sample

A, B, FAR = (10, 10, 30, 30), (40, 40, 80, 80), (80, 5, 95, 20)


def curves_of(pairs: list[tuple[Result, Sample]], rule: MatchRule = "devkit") -> tuple[PrecisionRecallCurve, ...]:
    predictions = concatenate_predictions((0, prediction_table(n, *pair)) for n, pair in enumerate(pairs))
    objects = concatenate_objects((0, object_table(n, pair[1])) for n, pair in enumerate(pairs))
    return precision_recall_curves(predictions, objects, 3, rule)


def scores_of(pairs: list[tuple[Result, Sample]], rule: MatchRule = "devkit") -> tuple[list[float], list[float]]:
    """AP of each class, area under the curve and 11-point."""
    curves, weights = curves_of(pairs, rule), unit_weights(len(pairs))
    areas = [float(average_precision(curve, weights)[0]) for curve in curves]
    return areas, [float(eleven_point_ap(curve, weights)[0]) for curve in curves]


def slow_ap(pairs: list[tuple[Result, Sample]], label: int, rule: MatchRule) -> tuple[float, float]:
    """VOCevaldet.m, line by line, of one class; (area, 11-point)."""
    truths: list[list[dict[str, Any]]] = []
    npos = 0
    for _, truth in pairs:
        rows = []
        for box, cls, difficult, crowd in zip(truth.boxes, truth.labels, truth.difficult, truth.crowd, strict=True):
            if cls == label:
                converted = box.astype(float) + ([0] * 4 if rule == "continuous" else [1, 1, 0, 0])
                rows.append({"box": converted, "difficult": difficult or crowd, "matched": False})
                npos += not (difficult or crowd)
        truths.append(rows)
    detections = [
        (float(score), number, box.astype(float) + ([1, 1, 0, 0] if rule == "devkit" else [0] * 4))
        for number, (predicted, _) in enumerate(pairs)
        for box, score, cls in zip(predicted.boxes, predicted.scores, predicted.labels, strict=True)
        if cls == label
    ]
    added = 0 if rule == "continuous" else 1
    tp, fp = [], []
    for _, number, (x1, y1, x2, y2) in sorted(detections, key=lambda detection: -detection[0]):
        ovmax, best = -np.inf, None
        for target in truths[number]:
            gx1, gy1, gx2, gy2 = target["box"]
            w, h = min(x2, gx2) - max(x1, gx1) + added, min(y2, gy2) - max(y1, gy1) + added
            if w > 0 and h > 0:
                union = (x2 - x1 + added) * (y2 - y1 + added) + (gx2 - gx1 + added) * (gy2 - gy1 + added) - w * h
                if w * h / union > ovmax:
                    ovmax, best = w * h / union, target
        hit = miss = 0
        if best is not None and (ovmax > 0.5 if rule == "continuous" else ovmax >= 0.5):
            if not best["difficult"]:
                hit, miss = int(not best["matched"]), int(best["matched"])
                best["matched"] = True
        else:
            miss = 1
        tp.append(hit)
        fp.append(miss)
    recall = np.cumsum(tp) / npos
    precision = np.cumsum(tp) / np.maximum(np.cumsum(tp) + np.cumsum(fp), 1e-9)
    mrec, mpre = np.concatenate([[0.0], recall, [1.0]]), np.concatenate([[0.0], precision, [0.0]])
    for i in range(len(mpre) - 2, -1, -1):
        mpre[i] = max(mpre[i], mpre[i + 1])
    at = np.flatnonzero(mrec[1:] != mrec[:-1]) + 1
    eleven = [max(precision[recall >= k / 10 - 1e-12], default=0.0) for k in range(11)]
    return float(((mrec[at] - mrec[at - 1]) * mpre[at]).sum()), float(np.mean(eleven))


def test_ap_of_two_objects_and_three_detections() -> None:
    """A true, a false and a true positive: area (1 + 2/3) / 2, 11-point (6 + 5 * 2/3) / 11."""
    pair = result([A, FAR, B], [0, 0, 0], [0.9, 0.8, 0.7]), sample("a", [A, B], [0, 0])
    areas, eleven = scores_of([pair])
    assert areas[0] == pytest.approx(0.833333, abs=1e-6)
    assert eleven[0] == pytest.approx(0.848485, abs=1e-6)


@pytest.mark.parametrize("rule", MATCH_RULES)
@pytest.mark.parametrize("seed", range(4))
def test_ap_equals_the_devkit_s_code(rule: MatchRule, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = [random_case(rng, f"{n}") for n in range(12)]
    areas, eleven = scores_of(pairs, rule)
    for label in range(3):
        assert (areas[label], eleven[label]) == pytest.approx(slow_ap(pairs, label, rule), abs=1e-12)


def test_order_of_images_does_not_change_ap_with_equal_scores() -> None:
    rng = np.random.default_rng(5)
    pairs = []
    for n in range(10):
        predicted, truth = random_case(rng, f"{n}")
        rounded = predicted.scores.round(1)
        pairs.append((result(predicted.boxes, predicted.labels.tolist(), rounded, class_map=None), truth))
    shuffled = [pairs[n] for n in rng.permutation(10)]
    assert scores_of(pairs) == scores_of(shuffled)


def test_ap_is_zero_without_detections_and_nan_without_objects() -> None:
    curves, weights = curves_of([(result([FAR], [1], [0.9]), sample("a", [A], [0]))]), unit_weights(1)
    assert average_precision(curves[0], weights).tolist() == eleven_point_ap(curves[0], weights).tolist() == [0.0]
    assert np.isnan([*average_precision(curves[1], weights), *eleven_point_ap(curves[1], weights)]).all()
    assert classes_with_objects(curves) == (0,)


def test_class_with_difficult_objects_only_does_not_occur() -> None:
    curves = curves_of([(result([A], [0], [0.9]), sample("a", [A], [0], difficult=[True]))])
    assert classes_with_objects(curves) == ()


def test_difficult_objects_are_not_counted() -> None:
    boxes = [A] * 21
    curves = curves_of([(result(), sample("a", boxes, [0] * 21, difficult=[True] * 2 + [False] * 19))])
    assert classes_with_objects(curves, 19) == (0,)
    assert classes_with_objects(curves, 20) == ()


def test_three_of_ten_objects_reach_recall_0_3() -> None:
    boxes = [(8 * n, 0, 8 * n + 6, 6) for n in range(10)]
    curves = curves_of([(result(boxes[:3], [0] * 3, [0.9, 0.8, 0.7]), sample("a", boxes, [0] * 10))])
    assert eleven_point_ap(curves[0], unit_weights(1))[0] == pytest.approx(4 / 11)


@pytest.mark.parametrize(
    ("rule", "width", "matches"),
    [
        ("devkit", 5, True),  # exactly half
        ("continuous", 5, False),
        ("continuous", 5.01, True),
        ("devkit", 4.99, False),
    ],
)
def test_overlap_threshold(rule: MatchRule, width: float, matches: bool) -> None:
    pair = result([(0, 0, width, 10)], [0], [0.9]), sample("a", [(0, 0, 10, 10)], [0])
    assert scores_of([pair], rule)[0][0] == float(matches)


def test_devkit_raw_adds_a_pixel_to_predictions() -> None:
    """The object covers pixels 1..10; a prediction 0..10 has 11 pixels for the devkit, 10 of them in common."""
    box = np.array([[0.0, 0.0, 10.0, 10.0]])
    assert overlap(box, box, "devkit-raw")[0] == pytest.approx(100 / 121)
    assert overlap(box, box, "devkit")[0] == overlap(box, box, "continuous")[0] == 1.0


@pytest.mark.parametrize("rule", MATCH_RULES)
def test_boxes_side_by_side_do_not_overlap(rule: MatchRule) -> None:
    left, right, below = np.array([[0.0, 0, 10, 10]]), np.array([[20.0, 0, 30, 10]]), np.array([[20.0, 20, 30, 30]])
    assert overlap(left, right, rule)[0] == overlap(left, below, rule)[0] == 0


def test_weights_repeat_images() -> None:
    rng = np.random.default_rng(7)
    pairs = [random_case(rng, f"{n}") for n in range(6)]
    weights = np.array([[2.0, 0.0, 1.0, 3.0, 0.0, 1.0]])
    repeated = [pair for pair, count in zip(pairs, weights[0], strict=True) for _ in range(int(count))]
    areas, eleven = scores_of(repeated)
    curves = curves_of(pairs)
    assert [float(average_precision(curve, weights)[0]) for curve in curves] == pytest.approx(areas)
    assert [float(eleven_point_ap(curve, weights)[0]) for curve in curves] == pytest.approx(eleven)


def test_unknown_rule_is_refused() -> None:
    with pytest.raises(UsageError, match="rule: expected one of devkit, devkit-raw, continuous, got 'coco'"):
        curves_of([(result(), sample("a"))], "coco")  # type: ignore[arg-type]
