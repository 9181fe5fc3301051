from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from blitznet.core.anchors import grids, make_anchors
from blitznet.core.arrays import ClassMap, Floats
from blitznet.core.errors import ModelError
from blitznet.core.result import Outputs
from blitznet.core.spec import AnchorLayout, Limits
from blitznet.runtime import finish as room
from blitznet.runtime.finish import detections, finish, paint
from runtime.fakes import ANCHORS, MAP, SPEC, random_outputs

Row = tuple[float, int, int, list[np.float32]]
"""score, label, anchor, box"""

SMALL = Limits(score=0.2, candidates=12, iou=0.3, per_class=4, per_image=9)
ALL = Limits(score=0.0, candidates=20, iou=0.45, per_class=5, per_image=10)
EVERYTHING = Limits(score=-1.0, candidates=10**6, iou=1.0, per_class=10**6, per_image=10**6)


def slow_box(offset: Floats, anchor: Floats) -> list[np.float32]:
    """One offset on one anchor, clipped after both corners."""
    x, y = (anchor[i] + offset[i] * np.float32(0.1) * anchor[2 + i] for i in (0, 1))
    w, h = (anchor[2 + i] * np.exp(offset[2 + i] * np.float32(0.2)) for i in (0, 1))
    corners = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    zero, one = np.float32(0), np.float32(1)
    return [min(max(np.float32(side), zero), one) for side in corners]


def slow_iou(a: list[np.float32], b: list[np.float32]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    zero = np.float32(0)
    inter = max(width, zero) * max(height, zero)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return float(inter / union) if union > 0 else 0.0


def slow(offsets: Floats, logits: Floats, anchors: Floats, limits: Limits) -> list[Row]:
    """The paper's 3.5 in loops: softmax and decoding of everything first."""
    scores = [np.exp(row - row.max()) / np.exp(row - row.max()).sum() for row in logits]
    boxes = [slow_box(offset, anchor) for offset, anchor in zip(offsets, anchors, strict=True)]
    found = list[Row]()
    for label in range(logits.shape[1] - 1):
        passing = [a for a in range(len(anchors)) if scores[a][label + 1] > limits.score]
        passing.sort(key=lambda a, label=label: -scores[a][label + 1])  # type: ignore[misc]
        kept = list[int]()
        for a in passing[: limits.candidates]:
            if len(kept) < limits.per_class and all(slow_iou(boxes[a], boxes[b]) <= limits.iou for b in kept):
                kept.append(a)
        found += [(float(scores[a][label + 1]), label, a, boxes[a]) for a in kept]
    return sorted(found, key=lambda row: -row[0])[: limits.per_image]


def same(offsets: Floats, logits: Floats, anchors: Floats, limits: Limits) -> int:
    """Assert that fast and slow agree; how many there were."""
    boxes, scores, labels = detections(offsets, logits, anchors, SPEC, limits)
    wanted = slow(offsets, logits, anchors, limits)
    assert labels.tolist() == [label for _, label, _, _ in wanted]
    np.testing.assert_allclose(scores, np.array([score for score, *_ in wanted], np.float32), rtol=1e-6)
    np.testing.assert_allclose(boxes, np.array([box for *_, box in wanted], np.float32).reshape(-1, 4), atol=2e-6)
    return len(wanted)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("limits", [Limits(), SMALL, ALL, EVERYTHING], ids=["paper", "small", "all", "everything"])
@pytest.mark.parametrize("spread", [0.1, 3.0, 30.0])
def test_equals_the_slow_way(seed: int, limits: Limits, spread: float) -> None:
    outputs = random_outputs(seed=seed, spread=spread)
    assert outputs.offsets is not None
    assert outputs.logits is not None
    part = slice(0, 40) if limits is EVERYTHING else slice(None)
    same(outputs.offsets[0, part], outputs.logits[0, part], ANCHORS[part], limits)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("limits", [Limits(), SMALL, ALL], ids=["paper", "small", "all"])
def test_equal_scores_come_by_class_then_by_anchor(seed: int, limits: Limits) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.integers(-1, 2, (len(ANCHORS), SPEC.channels)).astype(np.float32)
    offsets = rng.integers(-3, 4, (len(ANCHORS), 4)).astype(np.float32)
    assert same(offsets, logits, ANCHORS, limits) > 3


@pytest.mark.parametrize(
    ("limits", "counts"),
    [
        (Limits(candidates=10, iou=1.0, per_class=8, per_image=20), [8, 8, 4]),
        (Limits(candidates=10, iou=1.0, per_class=12, per_image=24), [10, 10, 4]),
        (Limits(candidates=10, iou=1.0, per_class=12, per_image=31), [10, 10, 10]),
    ],
)
def test_equal_scores_at_every_cut(limits: Limits, counts: list[int]) -> None:
    offsets, logits = np.zeros_like(ANCHORS), np.zeros((len(ANCHORS), 4), np.float32)
    _, _, labels = detections(offsets, logits, ANCHORS, SPEC, limits)
    assert np.bincount(labels).tolist() == counts
    same(offsets, logits, ANCHORS, limits)


def test_all_of_a_large_grid_passes() -> None:
    layout = AnchorLayout(strides=(8, 16), first=0.1, low=0.3, high=0.9)
    anchors = make_anchors(layout, grids(layout, (128, 96)))
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 0.5, (len(anchors), SPEC.channels)).astype(np.float32)
    offsets = rng.normal(0, 1, (len(anchors), 4)).astype(np.float32)
    assert same(offsets, logits, anchors, Limits()) > 50


@pytest.mark.parametrize("score", [0.001, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_the_prefilter_leaves_nothing_out(score: float) -> None:
    rng = np.random.default_rng(5)
    shift = rng.choice([0.0, 50.0, -80.0], (5000, 1))
    logits = (rng.normal(0, 4, (5000, SPEC.channels)) + shift).astype(np.float32)
    logits[:500, 0] = logits[:500, 1] - np.float32(np.log(score / (1 - score)))  # two classes alone, at the limit
    logits[:500, 2:] = -200
    limits = replace(EVERYTHING, score=score)
    _, scores, _ = detections(
        np.zeros((5000, 4), np.float32), logits, np.full((5000, 4), 0.5, np.float32), SPEC, limits
    )
    power = np.exp(logits - logits.max(1, keepdims=True))
    every = (power / power.sum(1, keepdims=True))[:, 1:]
    np.testing.assert_array_equal(scores, np.sort(every[every > score])[::-1])


def test_both_corners_are_made_before_they_are_clipped() -> None:
    anchors = np.array([[0.006667, 0.006667, 0.04, 0.04]], np.float32)  # the first of blitznet300-s4
    boxes, _, _ = detections(np.zeros((1, 4), np.float32), np.zeros((1, 4), np.float32), anchors, SPEC, Limits())
    np.testing.assert_allclose(boxes[0], [0, 0, 0.026667, 0.026667], atol=1e-6)


def test_the_worked_value_of_decoding_in_pixels() -> None:
    logits = np.full((1, len(ANCHORS), 4), [9, 0, 0, 0], np.float32)
    logits[0, 7] = [0, 0, 9, 0]
    offsets = np.zeros((1, len(ANCHORS), 4), np.float32)
    result = finish(Outputs(offsets, logits, None), 0, SPEC, size=(200, 100))
    x, y, w, h = ANCHORS[7]
    wanted = np.clip([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 0, 1) * [100, 200, 100, 200]
    np.testing.assert_allclose(result.boxes, [wanted], rtol=1e-6)
    assert result.boxes.dtype == np.float32
    assert [result.names[label] for label in result.labels] == ["dog"]


def test_an_endless_box_is_clipped() -> None:
    offsets = np.full((1, len(ANCHORS), 4), [0, 0, 1e4, 1e4], np.float32)
    result = finish(replace_logits(offsets), 0, SPEC, size=(20, 10), limits=Limits(per_image=1))
    assert result.boxes.tolist() == [[0, 0, 10, 20]]


def replace_logits(offsets: Floats) -> Outputs:
    return Outputs(offsets, np.zeros((1, len(ANCHORS), 4), np.float32), None)


@pytest.mark.parametrize(
    ("logits", "limits"),
    [
        (np.full((102, 4), [9, 0, 0, 0], np.float32), Limits()),
        (np.full((102, 4), np.nan, np.float32), Limits()),
        (np.zeros((102, 4), np.float32), Limits(score=1.0)),
        (np.zeros((102, 4), np.float32), Limits(per_class=0)),
    ],
    ids=["background", "not a number", "limit of 1", "none kept"],
)
def test_nothing_found(logits: Floats, limits: Limits) -> None:
    result = finish(Outputs(np.zeros((1, 102, 4), np.float32), logits[None], None), 0, SPEC, size=(9, 7), limits=limits)
    assert len(result) == 0
    assert result.class_map is None


def test_a_task_that_was_not_asked_for() -> None:
    outputs = random_outputs()
    boxes_only = finish(replace(outputs, class_map=None), 0, SPEC, size=(9, 7))
    map_only = finish(replace(outputs, offsets=None, logits=None), 0, SPEC, size=(9, 7))
    assert len(boxes_only) > 0
    assert boxes_only.class_map is None
    assert len(map_only) == 0
    assert map_only.class_map is not None
    assert finish(outputs, 0, SPEC, size=(9, 7), class_map=False).class_map is None


def test_each_image_of_a_batch_has_its_own() -> None:
    outputs = random_outputs(3)
    assert outputs.offsets is not None
    assert outputs.logits is not None
    for i in range(3):
        result = finish(outputs, i, SPEC, size=(1, 1))
        boxes, scores, labels = detections(outputs.offsets[i], outputs.logits[i], ANCHORS, SPEC, SPEC.limits)
        np.testing.assert_array_equal(result.boxes, boxes)
        np.testing.assert_array_equal(result.scores, scores)
        np.testing.assert_array_equal(result.labels, labels)


def test_anchors_are_those_of_the_size_that_was_fed() -> None:
    count = len(make_anchors(SPEC.anchors, grids(SPEC.anchors, (96, 80))))
    logits = np.zeros((1, count, 4), np.float32)
    outputs = Outputs(np.zeros((1, count, 4), np.float32), logits, None)
    assert len(finish(outputs, 0, SPEC, size=(9, 7), fed=(96, 80))) > 0
    with pytest.raises(ModelError, match=rf"small: its contract lays 102 anchors over 48x64 pixels, .* for {count}"):
        finish(outputs, 0, SPEC, size=(9, 7))


SIZES = [(16, 12), (64, 48), (61, 37), (5, 7), (1, 1), (1, 90), (90, 1), (33, 200)]


def plain_paint(logits: Floats, size: tuple[int, int]) -> ClassMap:
    """The whole (C, H, W) at once, then argmax."""

    def between(inside: int, outside: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
        place = np.clip((np.arange(outside) + 0.5) * (inside / outside) - 0.5, 0, inside - 1)
        low = np.floor(place)
        return low.astype(np.intp), np.minimum(low + 1, inside - 1).astype(np.intp), (place - low).astype(np.float32)

    low, high, share = between(logits.shape[2], size[1])
    wide = logits[:, :, low] + (logits[:, :, high] - logits[:, :, low]) * share
    low, high, share = between(logits.shape[1], size[0])
    full = wide[:, low] + (wide[:, high] - wide[:, low]) * share[:, None]
    return np.asarray(full.argmax(0), np.uint8)


def blobs(channels: int) -> Floats:
    """Logits as a trained network gives them: smooth, one or two channels high at a place."""
    y, x = np.meshgrid(np.linspace(0, 1, MAP[0]), np.linspace(0, 1, MAP[1]), indexing="ij")
    rng = np.random.default_rng(4)
    centres = rng.random((channels, 2, 1, 1))
    return np.asarray(8 - 30 * ((y - centres[:, 0]) ** 2 + (x - centres[:, 1]) ** 2), np.float32)


NOISE = np.random.default_rng(1).normal(0, 3, (21, *MAP)).astype(np.float32)
EQUAL = np.random.default_rng(1).integers(0, 2, (4, *MAP)).astype(np.float32)
CELL = np.random.default_rng(1).normal(0, 1, (3, 1, 1)).astype(np.float32)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tile", [1, 3, 8, 100])
@pytest.mark.parametrize("logits", [NOISE, EQUAL, CELL, blobs(6)], ids=["noise", "equal", "cell", "blobs"])
def test_class_map_equals_the_plain_way(
    size: tuple[int, int], tile: int, logits: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_TILE", tile)
    np.testing.assert_array_equal(paint(logits, size), plain_paint(logits, size))


@pytest.mark.parametrize("size", SIZES)
def test_class_map_is_torchs_bilinear(size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(2).normal(0, 3, (5, *MAP))
    full = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[None], size=size, mode="bilinear", align_corners=False
    )[0].numpy()
    first, second = np.sort(full, 0)[-1], np.sort(full, 0)[-2]
    clear = first - second > 1e-4
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(paint(logits.astype(np.float32), size)[clear], full.argmax(0)[clear])
