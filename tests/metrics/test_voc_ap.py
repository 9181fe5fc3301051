from typing import Any

import numpy as np
import pytest

from blitznet.core.errors import UsageError
from blitznet.core.sample import Sample
from blitznet.metrics.bootstrap import once
from blitznet.metrics.matching import join_detections, join_objects, object_table, prediction_table
from blitznet.metrics.voc_ap import RULES, Curve, Rule, area, curves, eleven_point, occurring, overlap
from blitznet.postprocess.result import Result
from support.metric_cases import drawn, result, sample

A, B, FAR = (10, 10, 30, 30), (40, 40, 80, 80), (80, 5, 95, 20)


def curves_of(pairs: list[tuple[Result, Sample]], rule: Rule = "devkit") -> tuple[Curve, ...]:
    found = join_detections((0, prediction_table(n, *pair)) for n, pair in enumerate(pairs))
    objects = join_objects((0, object_table(n, pair[1])) for n, pair in enumerate(pairs))
    return curves(found, objects, 3, rule)


def scores_of(pairs: list[tuple[Result, Sample]], rule: Rule = "devkit") -> tuple[list[float], list[float]]:
    made, weights = curves_of(pairs, rule), once(len(pairs))
    return [float(area(c, weights)[0]) for c in made], [float(eleven_point(c, weights)[0]) for c in made]


def slow_ap(pairs: list[tuple[Result, Sample]], label: int, rule: Rule) -> tuple[float, float]:
    """VOCevaldet.m, line by line, one class; (area, 11-point)."""
    truths: list[list[dict[str, Any]]] = []
    npos = 0
    for _, truth in pairs:
        rows = []
        for box, kind, difficult, crowd in zip(truth.boxes, truth.labels, truth.difficult, truth.crowd, strict=True):
            if kind == label:
                shown = box.astype(float) + ([0] * 4 if rule == "continuous" else [1, 1, 0, 0])
                rows.append({"box": shown, "difficult": difficult or crowd, "taken": False})
                npos += not (difficult or crowd)
        truths.append(rows)
    lines = [
        (float(score), number, box.astype(float) + ([1, 1, 0, 0] if rule == "devkit" else [0] * 4))
        for number, (found, _) in enumerate(pairs)
        for box, score, kind in zip(found.boxes, found.scores, found.labels, strict=True)
        if kind == label
    ]
    one = 0 if rule == "continuous" else 1
    tp, fp = [], []
    for _, number, (x1, y1, x2, y2) in sorted(lines, key=lambda line: -line[0]):
        most, best = -np.inf, None
        for thing in truths[number]:
            gx1, gy1, gx2, gy2 = thing["box"]
            w, h = min(x2, gx2) - max(x1, gx1) + one, min(y2, gy2) - max(y1, gy1) + one
            if w > 0 and h > 0:
                union = (x2 - x1 + one) * (y2 - y1 + one) + (gx2 - gx1 + one) * (gy2 - gy1 + one) - w * h
                if w * h / union > most:
                    most, best = w * h / union, thing
        right = wrong = 0
        if best is not None and (most > 0.5 if rule == "continuous" else most >= 0.5):
            if not best["difficult"]:
                right, wrong = int(not best["taken"]), int(best["taken"])
                best["taken"] = True
        else:
            wrong = 1
        tp.append(right)
        fp.append(wrong)
    recall = np.cumsum(tp) / npos
    precision = np.cumsum(tp) / np.maximum(np.cumsum(tp) + np.cumsum(fp), 1e-9)
    mrec, mpre = np.concatenate([[0.0], recall, [1.0]]), np.concatenate([[0.0], precision, [0.0]])
    for i in range(len(mpre) - 2, -1, -1):
        mpre[i] = max(mpre[i], mpre[i + 1])
    at = np.flatnonzero(mrec[1:] != mrec[:-1]) + 1
    eleven = [max(precision[recall >= k / 10 - 1e-12], default=0.0) for k in range(11)]
    return float(((mrec[at] - mrec[at - 1]) * mpre[at]).sum()), float(np.mean(eleven))


def test_worked_values() -> None:
    """Two objects; right, wrong, right: reference, section 10."""
    pair = result([A, FAR, B], [0, 0, 0], [0.9, 0.8, 0.7]), sample("a", [A, B], [0, 0])
    areas, eleven = scores_of([pair])
    assert areas[0] == pytest.approx(0.833333, abs=1e-6)
    assert eleven[0] == pytest.approx(0.848485, abs=1e-6)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_devkit_written_plainly(rule: Rule, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = [drawn(rng, f"{n}") for n in range(12)]
    areas, eleven = scores_of(pairs, rule)
    for label in range(3):
        assert (areas[label], eleven[label]) == pytest.approx(slow_ap(pairs, label, rule), abs=1e-12)


def test_order_of_images_changes_nothing_even_where_scores_tie() -> None:
    rng = np.random.default_rng(5)
    pairs = []
    for n in range(10):
        found, truth = drawn(rng, f"{n}")
        pairs.append((result(found.boxes, found.labels.tolist(), found.scores.round(1), class_map=None), truth))
    shuffled = [pairs[n] for n in rng.permutation(10)]
    assert scores_of(pairs) == scores_of(shuffled)


def test_no_detection_scores_zero_and_no_object_is_left_out() -> None:
    made = curves_of([(result([FAR], [1], [0.9]), sample("a", [A], [0]))])
    assert area(made[0], once(1)).tolist() == eleven_point(made[0], once(1)).tolist() == [0.0]
    assert np.isnan([*area(made[1], once(1)), *eleven_point(made[1], once(1))]).all()
    assert occurring(made) == (0,)


def test_difficult_objects_alone_are_nothing_to_find() -> None:
    made = curves_of([(result([A], [0], [0.9]), sample("a", [A], [0], difficult=[True]))])
    assert occurring(made) == ()


def test_occurring_counts_objects_that_are_not_difficult() -> None:
    boxes = [A] * 21
    made = curves_of([(result(), sample("a", boxes, [0] * 21, difficult=[True] * 2 + [False] * 19))])
    assert occurring(made, 19) == (0,)
    assert occurring(made, 20) == ()


def test_three_of_ten_reach_recall_three_tenths() -> None:
    boxes = [(8 * n, 0, 8 * n + 6, 6) for n in range(10)]
    made = curves_of([(result(boxes[:3], [0] * 3, [0.9, 0.8, 0.7]), sample("a", boxes, [0] * 10))])
    assert eleven_point(made[0], once(1))[0] == pytest.approx(4 / 11)


@pytest.mark.parametrize(
    ("rule", "width", "right"),
    [
        ("devkit", 5, True),  # exactly half
        ("continuous", 5, False),
        ("continuous", 5.01, True),
        ("devkit", 4.99, False),
    ],
)
def test_threshold(rule: Rule, width: float, right: bool) -> None:
    pair = result([(0, 0, width, 10)], [0], [0.9]), sample("a", [(0, 0, 10, 10)], [0])
    assert scores_of([pair], rule)[0][0] == float(right)


def test_raw_predictions_get_a_pixel_more_than_they_have() -> None:
    """Truth 1..10 both ways; a prediction 0..10 is 11 pixels wide to the devkit, 10 of them shared."""
    box = np.array([[0.0, 0.0, 10.0, 10.0]])
    assert overlap(box, box, "devkit-raw")[0] == pytest.approx(100 / 121)
    assert overlap(box, box, "devkit")[0] == overlap(box, box, "continuous")[0] == 1.0


def test_weights_are_images_taken_several_times() -> None:
    rng = np.random.default_rng(7)
    pairs = [drawn(rng, f"{n}") for n in range(6)]
    times = np.array([[2, 0, 1, 3, 0, 1]])
    repeated = [pair for pair, count in zip(pairs, times[0], strict=True) for _ in range(count)]
    once_each = scores_of(repeated)
    made = curves_of(pairs)
    assert [float(area(c, times)[0]) for c in made] == pytest.approx(once_each[0])
    assert [float(eleven_point(c, times)[0]) for c in made] == pytest.approx(once_each[1])


def test_unknown_rule() -> None:
    with pytest.raises(UsageError, match="rule: expected one of devkit, devkit-raw, continuous, got 'coco'"):
        curves_of([(result(), sample("a"))], "coco")  # type: ignore[arg-type]
