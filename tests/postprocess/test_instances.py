from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from blitznet.core.arrays import Boxes, Floats, Labels, Scores
from blitznet.core.errors import UsageError
from blitznet.postprocess.instances import Instances, Mask, extract_instances, margins_from_class_map, margins_from_logits, merge_panoptic
from blitznet.postprocess.result import Result, Segmentation

SIZE = (80, 120)


def discs(*centres: tuple[int, int], radius: int = 20, label: int = 0, classes: int = 3) -> Floats:
    """Logits (C, h, w) at the image's size that prefer a label in discs around (x, y)."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    inside = np.any([(x - cx) ** 2 + (y - cy) ** 2 < radius**2 for cx, cy in centres], 0)
    logits = np.zeros((classes, *SIZE), np.float32)
    logits[0] = np.where(inside, 0, 6)
    logits[label + 1] = np.where(inside, 6, 0)
    return logits


def around(*centres: tuple[int, int], radius: int = 20) -> Boxes:
    return np.array([(x - radius, y - radius, x + radius, y + radius) for x, y in centres], np.float32)


def found(boxes: Boxes, logits: Floats, labels: list[int], scores: list[float] | None = None) -> Instances:
    given_scores = np.array(scores or [0.9] * len(boxes), np.float32)
    return extract_instances(boxes, given_scores, np.array(labels, np.int64), margins_from_logits(logits), SIZE)


def test_one_thing_is_the_class_maps_pixels_in_its_box() -> None:
    logits = discs((40, 40))
    one = found(around((40, 40)), logits, [0])
    assert len(one) == 1
    np.testing.assert_array_equal(one.mask(0), logits.argmax(0) == 1)


def test_things_of_one_class_that_touch_are_divided_between_their_middles() -> None:
    centres = (40, 40), (70, 40)
    both = found(around(*centres), discs(*centres), [0, 0])
    left, right = both.mask(0), both.mask(1)
    assert not (left & right).any()
    np.testing.assert_array_equal(left | right, discs(*centres).argmax(0) == 1)
    x = np.arange(SIZE[1]) + 0.5
    assert not left[:, x > 55].any()
    assert not right[:, x < 55].any()


def test_a_much_weaker_box_takes_nothing_away() -> None:
    centres = (40, 40), (50, 40)
    alone = found(around(centres[0]), discs(*centres), [0]).mask(0)
    np.testing.assert_array_equal(found(around(*centres), discs(*centres), [0, 0], [0.9, 0.2]).mask(0), alone)
    assert found(around(*centres), discs(*centres), [0, 0], [0.9, 0.8]).mask(0).sum() < alone.sum()


def test_a_class_that_is_nearly_the_best_is_believed_in_its_box() -> None:
    """The class map says another class; a box says this one, and by logits it is not far behind."""
    logits = discs((40, 40), label=1)
    logits[1] = logits[2] - 1
    assert (logits.argmax(0) != 1).all()
    np.testing.assert_array_equal(found(around((40, 40)), logits, [0]).mask(0), logits.argmax(0) == 2)


def test_a_mask_grows_until_it_fills_its_box() -> None:
    """Only the upper half is sure; the lower is three logits short of background, and inside the box."""
    logits = discs((40, 40))
    lower = np.arange(SIZE[0])[:, None] > 40
    seen = logits.argmax(0) == 1
    logits[1] = np.where(seen & lower, logits[0] - 2.5, logits[1])
    mask = found(around((40, 40)), logits, [0]).mask(0)
    assert (mask & lower & seen).sum() > 0.9 * (lower & seen).sum()


def test_where_nothing_is_seen_the_ellipse_stands_for_the_thing() -> None:
    mask = found(around((40, 40)), discs((100, 10), radius=5), [0]).mask(0)
    assert mask.sum() == pytest.approx(np.pi * 20**2, rel=0.02)
    assert mask[40, 40]
    assert not mask[22, 22]


def boxes_of(draw: Any, count: int) -> Boxes:
    number = st.floats(-5, 125, width=32)
    corners = [sorted((draw(number), draw(number))) + sorted((draw(number), draw(number))) for _ in range(count)]
    return np.array([(a, c, b, d) for a, b, c, d in corners], np.float32).reshape(-1, 4)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(0, 5), st.integers(0, 1000))
def test_masks_stay_in_their_boxes_and_apart(data: st.DataObject, count: int, seed: int) -> None:
    boxes = boxes_of(data.draw, count)
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (3, 10, 15)).astype(np.float32)
    labels = random.integers(0, 2, count).tolist()
    several = found(boxes, logits, labels)
    for one in range(count):
        rows, columns = several.crops[one]
        outside = several.mask(one).copy()
        outside[rows, columns] = False
        assert not outside.any()
        x1, y1, x2, y2 = boxes[one].clip(0, [120, 80, 120, 80])
        assert rows.start >= min(y1 - 0.5, 79)
        assert rows.stop <= max(y2 + 0.5, rows.start + 1)
        assert columns.start >= min(x1 - 0.5, 119)
        assert columns.stop <= max(x2 + 0.5, columns.start + 1)
        for other in range(one):
            if labels[one] == labels[other]:
                assert not (several.mask(one) & several.mask(other)).any()


def plain(box: Floats, logits: Floats, label: int) -> Mask:
    """The mask of one box alone, pixel by pixel at full size, by torch's bilinear resize."""
    others = np.delete(logits, [0, label + 1], 0).max(0)
    margin = logits[label + 1] - np.maximum(logits[0], others - 2)
    wide = F.interpolate(torch.from_numpy(margin)[None, None], SIZE, mode="bilinear", align_corners=False)[0, 0].numpy()
    x1, y1, x2, y2 = box
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    away = ((x - (x1 + x2) / 2) / ((x2 - x1) / 2)) ** 2 + ((y - (y1 + y2) / 2) / ((y2 - y1) / 2)) ** 2
    inside = (y > round(y1)) & (y < round(y2)) & (x > round(x1)) & (x < round(x2))
    area, best, chosen = inside.sum(), -1.0, np.zeros(SIZE, np.bool_)
    for step in range(5):
        mask = inside & (wide + 1 - away > -step)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        reach = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1) / area if len(rows) else 0.0
        if reach - 0.1 * step > best + 0.02:
            best, chosen = reach - 0.1 * step, mask
    return chosen if chosen.sum() >= area / 4 else inside & (away < 1)


@pytest.mark.parametrize("seed", range(8))
def test_equals_the_slow_way(seed: int) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (4, 10, 15)).astype(np.float32)
    corner, sides = random.uniform(0, 40, 2), random.uniform(15, 40, 2)
    box = np.array([*corner, *(corner + sides)], np.float32)
    mask = found(box[None], logits, [1]).mask(0)
    assert (mask != plain(box, logits, 1)).mean() < 1e-3


def test_a_panoptic_map_has_one_owner_for_every_pixel() -> None:
    logits = discs((40, 40), (70, 40))
    logits[2] = discs((110, 10), radius=8)[1] + 1  # a class without a box
    boxes, scores = around((40, 40), (70, 40)), np.array([0.7, 0.9], np.float32)
    seen = Result(
        boxes, scores, np.zeros(2, np.int64), ("a", "b"), SIZE, Segmentation.from_logits(logits, SIZE)
    )
    whole = seen.panoptic()
    assert [(s.id, s.label, s.score) for s in whole.segments_info] == [
        (1, 0, pytest.approx(0.9)),
        (2, 0, pytest.approx(0.7)),
        (3, 1, None),
    ]
    assert [(whole.segmentation == s.id).sum() for s in whole.segments_info] == [s.area for s in whole.segments_info]
    np.testing.assert_array_equal(whole.segmentation > 0, logits.argmax(0) > 0)
    np.testing.assert_array_equal(whole.segmentation == 3, logits.argmax(0) == 2)


def test_a_pixel_that_two_want_is_the_one_whose_class_the_map_sees() -> None:
    """A person on a horse: the better box reaches over the other, whose class is a little ahead there."""
    logits = discs((40, 40))
    half = (logits.argmax(0) == 1) & (np.arange(SIZE[1]) < 40)
    logits[2] = np.where(half, logits[1] + 1, 0)
    boxes, scores = around((40, 40), (40, 40)), np.array([0.9, 0.5], np.float32)
    seen = Result(boxes, scores, np.arange(2), ("a", "b"), SIZE, Segmentation.from_logits(logits, SIZE))
    np.testing.assert_array_equal(seen.panoptic().segmentation == 2, half)
    assert seen.instances().mask(0)[half].all()


def test_a_speck_without_a_box_is_no_segment() -> None:
    class_map = np.zeros(SIZE, np.uint8)
    class_map[:5, :9] = 1  # 45 pixels, less than 0.5 % of the image
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    whole = merge_panoptic(extract_instances(*nothing, margins_from_class_map(class_map), SIZE), class_map)
    assert not whole.segments_info
    assert not whole.segmentation.any()


def test_a_map_without_boxes_is_all_classes() -> None:
    class_map = np.zeros(SIZE, np.uint8)
    class_map[:10], class_map[20:30] = 2, 1
    nothing: tuple[Boxes, Scores, Labels] = (
        np.zeros((0, 4), np.float32),
        np.zeros(0, np.float32),
        np.zeros(0, np.int64),
    )
    whole = merge_panoptic(extract_instances(*nothing, margins_from_class_map(class_map), SIZE), class_map)
    assert [(s.label, s.score, s.area) for s in whole.segments_info] == [(0, None, 1200), (1, None, 1200)]


def test_a_class_map_alone_will_do() -> None:
    """As of a result that was read from a file."""
    class_map = (discs((40, 40)).argmax(0)).astype(np.uint8)
    seen = Result(around((40, 40)), np.ones(1, np.float32), np.zeros(1, np.int64), ("a", "b"), SIZE, Segmentation.from_class_map(class_map))
    np.testing.assert_array_equal(seen.instances().mask(0), class_map == 1)


def test_without_a_class_map_there_is_nothing_to_cut() -> None:
    seen = Result(around((40, 40)), np.ones(1, np.float32), np.zeros(1, np.int64), ("a",), SIZE)
    with pytest.raises(UsageError, match="expected a segmentation to compute instances from, got none"):
        seen.instances()
    with pytest.raises(UsageError, match="expected a segmentation to compute instances from, got none"):
        seen.panoptic()
