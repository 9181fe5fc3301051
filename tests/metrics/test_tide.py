from collections.abc import Sequence

import numpy as np
import pytest

from blitznet.core.boxes import iou
from blitznet.core.sample import Sample
from blitznet.metrics.tide import ERROR_TYPES, ErrorImpact, classify_errors, error_impacts
from blitznet.postprocess.result import Result
from support.metric_cases import NAMES, random_case, result, sample, state_of

CAT, DOG, COW = range(3)
A, B = (10, 10, 30, 30), (40, 40, 80, 80)
HALF_OF_A, CLEAR = (10, 10, 30, 20 - 1), (80, 0, 95, 9)
"""an overlap of 0.45 with A, and of 0 with all objects"""


def error_types(predicted: Result, truth: Sample) -> list[str]:
    state = state_of([(predicted, truth)])
    errors = classify_errors(state.predictions, state.objects)
    names = ["-" if number < 0 else ERROR_TYPES[number] for number in errors.error_type]
    return names + ["missed"] * int(errors.missed.sum())


@pytest.mark.parametrize(
    ("boxes", "labels", "expected"),
    [
        ([A], [CAT], ["-"]),
        ([A], [DOG], ["classification"]),
        ([HALF_OF_A], [CAT], ["localization"]),
        ([HALF_OF_A], [DOG], ["both", "missed"]),
        ([A, A], [CAT, CAT], ["-", "duplicate"]),
        ([A, A], [CAT, DOG], ["-", "classification"]),
        ([CLEAR], [CAT], ["background", "missed"]),
        ([CLEAR], [DOG], ["background", "missed"]),
        ([(10, 10, 30, 12)], [CAT], ["localization"]),  # an overlap of exactly 0.1
        ([(10, 10, 30, 12)], [DOG], ["background", "missed"]),
        ([(10, 10, 30, 20)], [CAT], ["-"]),  # an overlap of exactly 0.5
        ([(10, 10, 30, 20)], [DOG], ["classification"]),
        ([], [], ["missed"]),
    ],
)
def test_error_types_with_one_cat(boxes: list[tuple[int, ...]], labels: list[int], expected: list[str]) -> None:
    scores = np.linspace(0.9, 0.5, len(boxes))
    assert error_types(result(boxes, labels, scores), sample("a", [A], [CAT])) == expected


def test_detections_of_ignored_objects_are_no_errors() -> None:
    truth = sample("a", [A, B], [CAT, DOG], difficult=[True, True])
    assert error_types(result([A, B], [CAT, CAT], [0.9, 0.8]), truth) == ["-", "background"]


def test_images_without_objects() -> None:
    predicted = result([A], [CAT], [0.9])
    assert error_types(predicted, sample("a")) == ["background"]
    assert all(impact.dap50 == 0 for impact in error_impacts(state_of([(predicted, sample("a"))])).values())


@pytest.mark.parametrize(
    ("boxes", "labels", "name", "gain"),
    [
        # two cats, A and B; A is half of the area under the curve
        ([A], [CAT], "missed", 1 / 2),
        ([A, B], [CAT, DOG], "classification", 1 / 2),
        ([A, (40, 40, 80, 59)], [CAT, CAT], "localization", 1 / 2),
        ([A, A, B], [CAT, CAT, CAT], "duplicate", 1 - (1 / 2 + 1 / 2 * 2 / 3)),
        ([A, CLEAR, B], [CAT, CAT, CAT], "background", 1 - (1 / 2 + 1 / 2 * 2 / 3)),
        ([(80, 80, 99, 99), A, B], [DOG, CAT, CAT], "background", 0),  # a class without objects has no AP
        ([A, B], [CAT, CAT], "background", 0),
    ],
)
def test_gain_of_fixing_an_error_type(boxes: list[tuple[int, ...]], labels: list[int], name: str, gain: float) -> None:
    scores = np.linspace(0.9, 0.5, len(boxes))
    impacts = error_impacts(state_of([(result(boxes, labels, scores), sample("a", [A, B], [CAT, CAT]))]))
    assert impacts[name].dap50 == pytest.approx(gain)
    assert list(impacts) == list(ERROR_TYPES)


def test_fixing_both_removes_the_detection() -> None:
    """A dog box with the wrong class and location has a higher score than the right dog box."""
    predicted = result([HALF_OF_A, B], [DOG, DOG], [0.9, 0.8])
    truth = sample("a", [A, B], [CAT, DOG])
    impact = error_impacts(state_of([(predicted, truth)]))["both"]
    assert impact.count == 1
    assert impact.dap50 == pytest.approx((1 - 1 / 2) / 2)


def test_fixing_gives_an_object_one_detection() -> None:
    """Of two badly placed boxes the one with the higher score becomes right; the second is removed."""
    predicted = result([HALF_OF_A, HALF_OF_A], [CAT, CAT], [0.9, 0.8])
    impact = error_impacts(state_of([(predicted, sample("a", [A], [CAT]))]))["localization"]
    assert impact.count == 2
    assert impact.dap50 == pytest.approx(1)


def test_a_class_whose_objects_are_all_missed_gains_nothing() -> None:
    assert error_impacts(state_of([(result(), sample("a", [A], [CAT]))]))["missed"] == ErrorImpact(1, 0.0)


def slow_impacts(pairs: Sequence[tuple[Result, Sample]]) -> dict[str, tuple[int, float]]:
    """TIDE with lists and loops: count and gain of each error type."""
    hits: list[tuple[float, int]] = []  # score, class
    errors: list[tuple[str, float, int, tuple[int, int] | None]] = []  # type, score, class, assigned object
    unmatched: dict[tuple[int, int], int] = {}  # class by (image, object)
    total = [0] * len(NAMES)
    for number, (predicted, truth) in enumerate(pairs):
        overlaps = iou(predicted.boxes.astype(np.float64), truth.boxes.astype(np.float64))
        ignored = truth.difficult | truth.crowd
        matched: set[int] = set()
        for m, label in enumerate(truth.labels):
            if not ignored[m]:
                total[label] += 1
                unmatched[number, m] = int(label)
        for n in np.argsort(-predicted.scores, kind="stable"):
            label, score = int(predicted.labels[n]), float(predicted.scores[n])
            same = [(float(overlaps[n, m]), -m) for m in range(len(ignored)) if truth.labels[m] == label]
            best, index = max(same, default=(0.0, 0))
            if best >= 0.5 and ignored[-index]:
                continue
            if best >= 0.5 and -index not in matched:
                matched.add(-index)
                del unmatched[number, -index]
                hits.append((score, label))
                continue
            scored = [(overlap, m) for overlap, m in same if not ignored[-m]]
            best, index = max(scored, default=(0.0, 0))
            different = [
                (float(overlaps[n, m]), -m) for m in range(len(ignored)) if truth.labels[m] != label and not ignored[m]
            ]
            best_different, different_index = max(different, default=(0.0, 0))
            if 0.1 <= best < 0.5:
                errors.append(("localization", score, label, (number, -index)))
            elif best_different >= 0.5:
                errors.append(("classification", score, label, (number, -different_index)))
            elif best >= 0.5:
                errors.append(("duplicate", score, label, None))
            else:
                name = "background" if max(best, best_different) <= 0.1 else "both"
                errors.append((name, score, label, None))
    before = slow_mean_ap(hits, [(score, label) for _, score, label, _ in errors], total)
    impacts = {}
    for name in ERROR_TYPES[:-1]:
        rows, used = list(hits), set()
        for _, score, _, target in sorted((row for row in errors if row[0] == name), key=lambda row: -row[1]):
            if target in unmatched and target not in used:
                used.add(target)
                rows.append((score, unmatched[target]))
        rest = [(score, label) for error_type, score, label, _ in errors if error_type != name]
        count = sum(row[0] == name for row in errors)
        impacts[name] = count, slow_mean_ap(rows, rest, total) - before
    missed = [label for target, label in unmatched.items() if target not in {row[3] for row in errors}]
    fewer = [count - missed.count(label) for label, count in enumerate(total)]
    rest = [(score, label) for _, score, label, _ in errors]
    impacts["missed"] = len(missed), slow_mean_ap(hits, rest, fewer, occurring=total) - before
    return impacts


def slow_mean_ap(
    hits: list[tuple[float, int]],
    errors: list[tuple[float, int]],
    total: list[int],
    occurring: list[int] | None = None,
) -> float:
    """Mean area under the interpolated curves of the classes that occur."""
    areas = []
    for label in np.flatnonzero(occurring or total):
        rows = sorted([(-s, 1) for s, k in hits if k == label] + [(-s, 0) for s, k in errors if k == label])
        true_positives = np.cumsum([hit for _, hit in rows])
        precision = true_positives / np.arange(1, len(rows) + 1)
        area = sum(max(precision[n:]) for n, (_, hit) in enumerate(rows) if hit)
        areas.append(area / total[label] if total[label] else 0.0)
    return float(np.mean(areas))


@pytest.mark.parametrize("seed", range(6))
def test_impacts_equal_the_slow_version(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = [random_case(rng, f"{n}") for n in range(12)]
    impacts, expected = error_impacts(state_of(pairs)), slow_impacts(pairs)
    assert {name: impact.count for name, impact in impacts.items()} == {
        name: count for name, (count, _) in expected.items()
    }
    gains = [impacts[name].dap50 for name in ERROR_TYPES]
    assert gains == pytest.approx([expected[name][1] for name in ERROR_TYPES], abs=1e-12)
    assert sum(impact.count for impact in impacts.values()) > 50
