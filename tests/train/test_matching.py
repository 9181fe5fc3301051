"""match: equal to a greedy algorithm in plain Python, worked values, special cases."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from blitznet.core import boxes as numpy_boxes
from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.models import get_spec
from blitznet.train import boxes as torch_boxes
from blitznet.train.batch import Batch
from blitznet.train.matching import IGNORED, Targets, match

VARIANCES = (0.1, 0.1, 0.2, 0.2)


def batch_of(
    boxes: list[list[tuple[float, ...]]],
    *,
    labels: list[int] | None = None,
    crowd: list[bool] | None = None,
    classes: int = 3,
) -> Batch:
    """A batch without pixels: one list of boxes for each image."""
    flat = [box for own in boxes for box in own]
    images = len(boxes)
    return Batch(
        images=torch.zeros(images, 3, 1, 1, dtype=torch.uint8),
        boxes=torch.tensor(flat, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels or [0] * len(flat), dtype=torch.int64),
        image_index=torch.repeat_interleave(torch.tensor([len(own) for own in boxes])),
        crowd=torch.tensor(crowd or [False] * len(flat), dtype=torch.bool),
        class_map=torch.full((images, 1, 1), 255, dtype=torch.uint8),
        box_classes=torch.ones(images, classes, dtype=torch.bool),
        mask_classes=torch.zeros(images, classes, dtype=torch.bool),
        soft_labels=torch.zeros((0, 0, 0, 0), dtype=torch.uint8),
        soft_index=torch.zeros(0, dtype=torch.int64),
        soft_classes=torch.zeros((0, 0), dtype=torch.bool),
        ids=tuple(map(str, range(images))),
    )


def anchors_of(name: str) -> Tensor:
    spec = get_spec(name)
    return torch.from_numpy(generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, spec.size)).copy())


def greedy(overlap: NDArray[Any]) -> list[int]:
    """The object of each anchor, -1 for none: all pairs by falling IoU, then remaining anchors from IoU 0.5 on."""
    objects, anchors = overlap.shape
    pairs = sorted((-overlap[t, a], t, a) for t in range(objects) for a in range(anchors) if overlap[t, a] > 0)
    assigned, matched = [-1] * anchors, set()
    for _, t, a in pairs:
        if t not in matched and assigned[a] < 0:
            assigned[a] = t
            matched.add(t)
    for a in range(anchors):
        best = int(overlap[:, a].argmax()) if objects else 0
        if assigned[a] < 0 and objects and overlap[best, a] >= 0.5:
            assigned[a] = best
    return assigned


def slow_labels(anchors: Tensor, batch: Batch) -> NDArray[Any]:
    """Labels (B, A) by the rules, one image, anchor and object at a time."""
    corners = torch_boxes.to_corners(anchors)
    labels = np.zeros((len(batch), len(anchors)), np.int64)
    for image in range(len(batch)):
        if not batch.box_classes[image].any():
            labels[image] = IGNORED
            continue
        own = (batch.image_index == image) & ~batch.crowd
        assigned = greedy(torch_boxes.iou(batch.boxes[own], corners).numpy())
        regions = batch.boxes[(batch.image_index == image) & batch.crowd].numpy()
        for a, t in enumerate(assigned):
            corner = corners[a : a + 1].numpy()
            inside = numpy_boxes.intersection(regions, corner).max(initial=0) > numpy_boxes.area(corner)[0] / 2
            labels[image, a] = batch.labels[own][t] + 1 if t >= 0 else IGNORED if inside else 0
    return labels


def random_boxes(rng: np.random.Generator, count: int, *, spread: float) -> list[tuple[float, ...]]:
    """Boxes around the center; with a smaller spread more of them have the same best anchor."""
    center = 0.5 + spread * (rng.random((count, 2)) - 0.5)
    half = 0.05 + 0.15 * rng.random((count, 2))
    return [tuple(box) for box in np.concatenate([center - half, center + half], 1).tolist()]


@pytest.mark.parametrize("seed", range(12))
def test_equals_greedy_matching(seed: int) -> None:
    rng = np.random.default_rng(seed)
    anchors = torch.from_numpy(rng.random((40, 4), np.float32)) * torch.tensor([1, 1, 0.5, 0.5])
    anchors += torch.tensor([0, 0, 0.05, 0.05])
    counts = [int(n) for n in rng.integers(0, 14, 4)]
    boxes = [random_boxes(rng, n, spread=rng.choice([0.02, 0.3, 1.0])) for n in counts]
    boxes[seed % 4] += boxes[seed % 4][:3]  # duplicates differ in their position only
    total = sum(map(len, boxes))
    batch = batch_of(boxes, labels=rng.integers(0, 3, total).tolist(), crowd=(rng.random(total) < 0.2).tolist())
    batch.box_classes[(seed + 1) % 4] = seed % 2 == 0
    targets = match(anchors, batch)
    np.testing.assert_array_equal(targets.labels, slow_labels(anchors, batch))
    check_positives(targets, anchors, batch)


def check_positives(targets: Targets, anchors: Tensor, batch: Batch) -> None:
    """The lists of positives agree with the labels, and the offsets decode to the objects."""
    count = len(anchors)
    flat = targets.labels.view(-1)
    assert targets.positives.tolist() == (flat > 0).nonzero().flatten().tolist()
    assert flat[targets.positives].tolist() == (batch.labels[targets.objects] + 1).tolist()
    assert batch.image_index[targets.objects].tolist() == (targets.positives // count).tolist()
    decoded = numpy_boxes.decode(targets.offsets.numpy(), anchors[targets.positives % count].numpy(), VARIANCES)
    np.testing.assert_allclose(decoded, batch.boxes[targets.objects], atol=1e-5)
    in_torch = torch_boxes.decode(targets.offsets, anchors[targets.positives % count], VARIANCES)
    np.testing.assert_allclose(in_torch, decoded, atol=1e-6)


def test_every_object_of_a_crowded_image_gets_an_anchor() -> None:
    batch = batch_of([[(0.25, 0.25, 0.75, 0.75)] * 30])
    targets = match(anchors_of("blitznet300-s8"), batch)
    assert set(targets.objects.tolist()) == set(range(30))


def test_worked_match() -> None:
    anchors = anchors_of("blitznet300-s8")
    batch = batch_of([[(0.25, 0.25, 0.75, 0.75)]])
    targets = match(anchors, batch)
    assert len(targets.positives) == 12
    overlap = torch_boxes.iou(batch.boxes, torch_boxes.to_corners(anchors))[0]
    assert overlap.argmax() == 11502
    assert overlap.max().item() == pytest.approx(0.756144, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "best", "positives"),
    [
        ("blitznet300-s8", 0.925390, 8),
        ("blitznet300-s4", 0.939850, 8),
        ("blitznet512-s8", 0.939850, 4),
        ("blitznet512-s4", 0.961307, 8),
    ],
)
def test_worked_match_of_whole_image(name: str, best: float, positives: int) -> None:
    anchors = anchors_of(name)
    batch = batch_of([[(0, 0, 1, 1)]])
    overlap = torch_boxes.iou(batch.boxes, torch_boxes.to_corners(anchors))[0]
    assert overlap.argmax() == len(anchors) - 1
    assert overlap.max().item() == pytest.approx(best, abs=1e-6)
    assert len(match(anchors, batch).positives) == positives


def test_worked_match_of_tiny_object() -> None:
    anchors = anchors_of("blitznet300-s4")
    batch = batch_of([[(0.5, 0.5, 0.52, 0.53)]])
    targets = match(anchors, batch)
    assert len(targets.positives) == 1
    overlap = torch_boxes.iou(batch.boxes, torch_boxes.to_corners(anchors))[0]
    assert overlap[targets.positives].item() == pytest.approx(0.375, abs=1e-5)
    assert overlap.max() == overlap[targets.positives]


GRID = torch.tensor([[0.25, 0.5, 0.3, 0.3], [0.75, 0.5, 0.3, 0.3]])
"""two adjacent anchors"""


@pytest.mark.parametrize(
    ("boxes", "labels"),
    [
        pytest.param([], [0, 0], id="no object"),
        pytest.param([(0.1, 0.35, 0.4, 0.65)], [1, 0], id="equal to an anchor"),
        pytest.param([(0.0, 0.0, 0.05, 0.05)], [0, 0], id="touches no anchor"),
        pytest.param([(0.3, 0.3, 0.3, 0.6)], [0, 0], id="no width"),
        pytest.param([(0.39, 0.6, 0.6, 0.7)], [1, 0], id="small overlap"),
        pytest.param([(0.1, 0.35, 0.4, 0.65), (0.12, 0.35, 0.7, 0.65)], [1, 2], id="second object takes its next best"),
        pytest.param([(0.2, 0.4, 0.3, 0.6), (0.1, 0.35, 0.4, 0.65)], [2, 0], id="second object has no next best"),
    ],
)
def test_special_cases(boxes: list[tuple[float, ...]], labels: list[int]) -> None:
    batch = batch_of([boxes], labels=list(range(len(boxes))))
    targets = match(GRID, batch)
    assert targets.labels.tolist() == [labels]
    assert torch.isfinite(targets.offsets).all()


def test_image_without_annotated_boxes_is_ignored() -> None:
    batch = batch_of([[(0.1, 0.35, 0.4, 0.65)], []])
    batch.box_classes[0] = False
    targets = match(GRID, batch)
    assert targets.labels.tolist() == [[IGNORED, IGNORED], [0, 0]]
    assert not len(targets.positives)


@pytest.mark.parametrize(
    ("crowd", "labels"),
    [
        pytest.param((0.0, 0.0, 0.26, 1.0), [IGNORED, 0], id="more than half inside"),
        pytest.param((0.0, 0.0, 0.24, 1.0), [0, 0], id="less than half inside"),
        pytest.param((0.1, 0.35, 0.4, 0.65), [IGNORED, 0], id="a crowd is never an object"),
    ],
)
def test_crowds_are_ignored(crowd: tuple[float, ...], labels: list[int]) -> None:
    assert match(GRID, batch_of([[crowd], []], crowd=[True])).labels.tolist() == [labels, [0, 0]]


@pytest.mark.parametrize(("width", "labels"), [(1.0, [1, 1]), (1.0 + 2**-20, [1, 0])])
def test_an_anchor_with_half_the_union_is_positive(width: float, labels: list[int]) -> None:
    """IoU 0.5 exactly, in numbers of few bits; the object's own anchor comes first."""
    anchors = torch.tensor([[0.25, 0.25, 0.5, 0.5], [width / 2, 0.25, width, 0.5]])
    assert match(anchors, batch_of([[(0.0, 0.0, 0.5, 0.5)]])).labels.tolist() == [labels]


@pytest.mark.parametrize(("right", "label"), [(0.25, 0), (0.25 + 2**-20, IGNORED)])
def test_an_anchor_half_in_a_crowd_is_background(right: float, label: int) -> None:
    """Numbers of few bits: exactly half of the anchor is inside."""
    anchors = torch.tensor([[0.25, 0.5, 0.5, 0.5]])
    assert match(anchors, batch_of([[(0.0, 0.0, right, 1.0)]], crowd=[True])).labels.tolist() == [[label]]


def test_positive_inside_a_crowd_stays_positive() -> None:
    batch = batch_of([[(0.1, 0.35, 0.4, 0.65), (0.0, 0.0, 1.0, 1.0)]], labels=[2, 0], crowd=[False, True])
    assert match(GRID, batch).labels.tolist() == [[3, IGNORED]]


def test_match_original_prefers_the_first_object() -> None:
    boxes: list[tuple[float, ...]] = [(0.2, 0.4, 0.3, 0.6), (0.1, 0.35, 0.4, 0.65), (0.0, 0.0, 0.05, 0.05)]
    batch = batch_of([boxes], labels=[0, 1, 2])
    assert match(GRID, batch, match_original=True).labels.tolist() == [[1, 0]]
    single = batch_of([boxes[2:]], labels=[2])
    assert match(GRID, single, match_original=True).labels.tolist() == [[3, 0]]  # at any IoU
    without_width = match(GRID, batch_of([[(0.3, 0.3, 0.3, 0.6)]]), match_original=True)
    assert without_width.labels.tolist() == [[0, 0]], "its offsets would be infinite"


def test_order_of_objects_and_images_does_not_matter() -> None:
    rng = np.random.default_rng(5)
    boxes = [random_boxes(rng, 6, spread=0.3), random_boxes(rng, 4, spread=0.3)]
    anchors = torch.from_numpy(rng.random((50, 4), np.float32)) + 0.05
    forward = match(anchors, batch_of(boxes, labels=[0] * 6 + [1] * 4)).labels
    backward = match(anchors, batch_of([own[::-1] for own in boxes[::-1]], labels=[1] * 4 + [0] * 6)).labels
    assert torch.equal(forward, backward.flip(0))


@pytest.mark.parametrize("strip_values", [1, 15, 10_000])
def test_box_geometry_equals_numpy(strip_values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_boxes, "_STRIP_VALUES", strip_values)
    rng = np.random.default_rng(0)
    a = rng.random((9, 4), np.float32)
    b = rng.random((7, 4), np.float32)
    a[0] = b[0] = 0  # both empty
    np.testing.assert_allclose(
        torch_boxes.iou(torch.from_numpy(a), torch.from_numpy(b)), numpy_boxes.iou(a, b), atol=1e-6
    )
    assert torch_boxes.iou(torch.from_numpy(a[:0]), torch.from_numpy(b)).shape == (0, 7)
    assert torch_boxes.iou(torch.from_numpy(a), torch.from_numpy(b[:0])).shape == (9, 0)
    centers = rng.random((9, 4), np.float32) + np.float32(0.1)
    np.testing.assert_allclose(
        torch_boxes.to_corners(torch.from_numpy(centers)), numpy_boxes.cxcywh_to_xyxy(centers), atol=1e-6
    )
    low = rng.random((9, 2), np.float32)
    boxes = np.concatenate([low, low + rng.random((9, 2), np.float32) + np.float32(0.01)], 1)
    ours = torch_boxes.encode(torch.from_numpy(boxes), torch.from_numpy(centers), VARIANCES)
    np.testing.assert_allclose(ours, numpy_boxes.encode(boxes, centers, VARIANCES), rtol=1e-4, atol=1e-5)


def test_variances_and_threshold() -> None:
    batch = batch_of([[(0.1, 0.35, 0.4, 0.6)]])
    single = match(GRID, batch)
    double = match(GRID, batch, variances=(0.2, 0.2, 0.4, 0.4))
    torch.testing.assert_close(double.offsets * 2, single.offsets)
    wide = batch_of([[(0.1, 0.35, 0.9, 0.65)]])
    assert match(GRID, wide).labels.tolist() == [[1, 0]]
    assert match(GRID, wide, threshold=0.3).labels.tolist() == [[1, 1]]


@pytest.mark.parametrize("max_searches", [-1, 5, 1000])
@pytest.mark.parametrize("kind", ["random", "equal", "nearly equal"])
def test_many_objects_that_want_the_same_anchors(max_searches: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of matching equal the greedy algorithm; an annotation may be repeated a hundred times."""
    monkeypatch.setattr("blitznet.train.matching._MIN_SEARCHES", max_searches)
    monkeypatch.setattr("blitznet.train.matching._SEARCHES_PER_OBJECT", -1)
    rng = np.random.default_rng(0)
    corner, size = rng.uniform(0.1, 0.5, (40, 2)), rng.uniform(0.05, 0.4, (40, 2))
    if kind != "random":
        corner, size = corner[:1].repeat(40, 0), size[:1].repeat(40, 0)
        size = size + (kind == "nearly equal") * rng.uniform(0, 1e-3, (40, 2))
    boxes = np.concatenate([corner, corner + size], 1).round(4)
    batch = batch_of([[tuple(box) for box in boxes.tolist()], [(0.2, 0.2, 0.6, 0.7)]], labels=[0, 1] * 20 + [2])
    anchors = anchors_of("blitznet300-s8")[::9]
    np.testing.assert_array_equal(match(anchors, batch).labels.numpy(), slow_labels(anchors, batch))
