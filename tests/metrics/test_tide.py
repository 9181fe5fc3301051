from collections.abc import Sequence

import numpy as np
import pytest

from blitznet.core.boxes import iou
from blitznet.core.sample import Sample
from blitznet.metrics.tide import KINDS, ErrorImpact, faults, gains
from blitznet.postprocess.result import Result
from support.metric_cases import NAMES, drawn, evidence_of, result, sample

CAT, DOG, COW = range(3)
A, B = (10, 10, 30, 30), (40, 40, 80, 80)
BESIDE_A, CLEAR = (10, 10, 30, 20 - 1), (80, 0, 95, 9)
"""an overlap of 0.45 with A, and of nothing"""


def kinds(found: Result, truth: Sample) -> list[str]:
    evidence = evidence_of([(found, truth)])
    fault = faults(evidence.found, evidence.objects)
    return ["-" if kind < 0 else KINDS[kind] for kind in fault.kind] + ["missed"] * int(fault.missed.sum())


@pytest.mark.parametrize(
    ("boxes", "labels", "expected"),
    [
        ([A], [CAT], ["-"]),
        ([A], [DOG], ["classification"]),
        ([BESIDE_A], [CAT], ["localisation"]),
        ([BESIDE_A], [DOG], ["both", "missed"]),
        ([A, A], [CAT, CAT], ["-", "duplicate"]),
        ([A, A], [CAT, DOG], ["-", "classification"]),
        ([CLEAR], [CAT], ["background", "missed"]),
        ([CLEAR], [DOG], ["background", "missed"]),
        ([(10, 10, 30, 12)], [CAT], ["localisation"]),  # an overlap of exactly 0.1
        ([(10, 10, 30, 12)], [DOG], ["background", "missed"]),
        ([(10, 10, 30, 20)], [CAT], ["-"]),  # and of exactly 0.5
        ([(10, 10, 30, 20)], [DOG], ["classification"]),
        ([], [], ["missed"]),
    ],
)
def test_the_kind_of_one_cat_s_boxes(boxes: list[tuple[int, ...]], labels: list[int], expected: list[str]) -> None:
    assert kinds(result(boxes, labels, np.linspace(0.9, 0.5, len(boxes))), sample("a", [A], [CAT])) == expected


def test_ignored_objects_and_what_meets_them_are_no_errors() -> None:
    truth = sample("a", [A, B], [CAT, DOG], difficult=[True, True])
    assert kinds(result([A, B], [CAT, CAT], [0.9, 0.8]), truth) == ["-", "background"]


def test_images_without_objects() -> None:
    assert kinds(result([A], [CAT], [0.9]), sample("a")) == ["background"]
    assert all(gain.ap50 == 0 for gain in gains(evidence_of([(result([A], [CAT], [0.9]), sample("a"))])).values())


@pytest.mark.parametrize(
    ("boxes", "labels", "kind", "gain"),
    [
        # two cats, A and B: 1/2 of the area is A's
        ([A], [CAT], "missed", 1 / 2),
        ([A, B], [CAT, DOG], "classification", 1 / 2),
        ([A, (40, 40, 80, 59)], [CAT, CAT], "localisation", 1 / 2),
        ([A, A, B], [CAT, CAT, CAT], "duplicate", 1 - (1 / 2 + 1 / 2 * 2 / 3)),
        ([A, CLEAR, B], [CAT, CAT, CAT], "background", 1 - (1 / 2 + 1 / 2 * 2 / 3)),
        ([(80, 80, 99, 99), A, B], [DOG, CAT, CAT], "background", 0),  # a class without objects has no AP
        ([A, B], [CAT, CAT], "background", 0),
    ],
)
def test_what_mending_gives(boxes: list[tuple[int, ...]], labels: list[int], kind: str, gain: float) -> None:
    scores = np.linspace(0.9, 0.5, len(boxes))
    found = gains(evidence_of([(result(boxes, labels, scores), sample("a", [A, B], [CAT, CAT]))]))
    assert found[kind].ap50 == pytest.approx(gain)
    assert list(found) == list(KINDS)


def test_both_is_mended_by_leaving_it_out() -> None:
    """The dog box beside the cat stands before the dog."""
    found = result([BESIDE_A, B], [DOG, DOG], [0.9, 0.8])
    truth = sample("a", [A, B], [CAT, DOG])
    gain = gains(evidence_of([(found, truth)]))["both"]
    assert gain.count == 1
    assert gain.ap50 == pytest.approx((1 - 1 / 2) / 2)


def test_one_object_is_found_once_however_many_are_mended() -> None:
    """Of two boxes beside the cat the better becomes right; the other goes."""
    found = result([BESIDE_A, BESIDE_A], [CAT, CAT], [0.9, 0.8])
    gain = gains(evidence_of([(found, sample("a", [A], [CAT]))]))["localisation"]
    assert gain.count == 2
    assert gain.ap50 == pytest.approx(1)


def test_a_class_of_which_every_object_is_missed_gains_nothing() -> None:
    assert gains(evidence_of([(result(), sample("a", [A], [CAT]))]))["missed"] == ErrorImpact(1, 0.0)


def slow_gains(pairs: Sequence[tuple[Result, Sample]]) -> dict[str, tuple[int, float]]:
    """TIDE with lists and loops: rows are (score, class, right), objects are counted by class."""
    right: list[tuple[float, int]] = []  # score, class
    wrong: list[tuple[str, float, int, tuple[int, int] | None]] = []  # kind, score, class, the object it could find
    free: dict[tuple[int, int], int] = {}  # objects by (image, place), not found
    total = [0] * len(NAMES)
    for number, (found, truth) in enumerate(pairs):
        shares = iou(found.boxes.astype(np.float64), truth.boxes.astype(np.float64))
        ignored = truth.difficult | truth.crowd
        taken: set[int] = set()
        for m, label in enumerate(truth.labels):
            if not ignored[m]:
                total[label] += 1
                free[number, m] = int(label)
        for n in np.argsort(-found.scores, kind="stable"):
            label, score = int(found.labels[n]), float(found.scores[n])
            mine = [(float(shares[n, m]), -m) for m in range(len(ignored)) if truth.labels[m] == label]
            best, place = max(mine, default=(0.0, 0))
            if best >= 0.5 and ignored[-place]:
                continue
            if best >= 0.5 and -place not in taken:
                taken.add(-place)
                del free[number, -place]
                right.append((score, label))
                continue
            counted = [(share, m) for share, m in mine if not ignored[-m]]
            best, place = max(counted, default=(0.0, 0))
            others = [
                (float(shares[n, m]), -m) for m in range(len(ignored)) if truth.labels[m] != label and not ignored[m]
            ]
            other, elsewhere = max(others, default=(0.0, 0))
            if 0.1 <= best < 0.5:
                wrong.append(("localisation", score, label, (number, -place)))
            elif other >= 0.5:
                wrong.append(("classification", score, label, (number, -elsewhere)))
            elif best >= 0.5:
                wrong.append(("duplicate", score, label, None))
            else:
                wrong.append(("background" if max(best, other) <= 0.1 else "both", score, label, None))
    before = slow_mean(right, [(score, label) for _, score, label, _ in wrong], total)
    answer = {}
    for kind in KINDS[:-1]:
        rows, used = list(right), set()
        for _, score, _, thing in sorted((row for row in wrong if row[0] == kind), key=lambda row: -row[1]):
            if thing in free and thing not in used:
                used.add(thing)
                rows.append((score, free[thing]))
        rest = [(score, label) for other_kind, score, label, _ in wrong if other_kind != kind]
        count = sum(row[0] == kind for row in wrong)
        answer[kind] = count, slow_mean(rows, rest, total) - before
    lost = [label for thing, label in free.items() if thing not in {row[3] for row in wrong}]
    fewer = [count - lost.count(label) for label, count in enumerate(total)]
    rest = [(score, label) for _, score, label, _ in wrong]
    answer["missed"] = len(lost), slow_mean(right, rest, fewer, among=total) - before
    return answer


def slow_mean(
    right: list[tuple[float, int]], wrong: list[tuple[float, int]], total: list[int], among: list[int] | None = None
) -> float:
    """Mean area under the interpolated curves of the classes that occur."""
    areas = []
    for label in np.flatnonzero(among or total):
        rows = sorted([(-s, 1) for s, k in right if k == label] + [(-s, 0) for s, k in wrong if k == label])
        hits = np.cumsum([hit for _, hit in rows])
        precision = hits / np.arange(1, len(rows) + 1)
        area = sum(max(precision[n:]) for n, (_, hit) in enumerate(rows) if hit)
        areas.append(area / total[label] if total[label] else 0.0)
    return float(np.mean(areas))


@pytest.mark.parametrize("seed", range(6))
def test_equal_to_a_slow_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = [drawn(rng, f"{n}") for n in range(12)]
    found, expected = gains(evidence_of(pairs)), slow_gains(pairs)
    assert {kind: gain.count for kind, gain in found.items()} == {kind: count for kind, (count, _) in expected.items()}
    assert [found[kind].ap50 for kind in KINDS] == pytest.approx([expected[kind][1] for kind in KINDS], abs=1e-12)
    assert sum(gain.count for gain in found.values()) > 50
