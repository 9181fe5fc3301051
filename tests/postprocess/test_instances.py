from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from blitznet.core.arrays import Boxes, Floats, Labels, Scores
from blitznet.core.errors import UsageError
from blitznet.postprocess.instances import (
    InstanceConfig,
    Instances,
    Mask,
    extract_instances,
    margins_from_class_map,
    margins_from_logits,
    merge_panoptic,
)
from blitznet.postprocess.result import Result, Segmentation

SIZE = (80, 120)


def discs(*centers: tuple[int, int], radius: int = 20, label: int = 0, classes: int = 3) -> Floats:
    """Logits (C, H, W) that are highest for a label in discs around (x, y)."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    inside = np.any([(x - cx) ** 2 + (y - cy) ** 2 < radius**2 for cx, cy in centers], 0)
    logits = np.zeros((classes, *SIZE), np.float32)
    logits[0] = np.where(inside, 0, 6)
    logits[label + 1] = np.where(inside, 6, 0)
    return logits


def square_boxes(*centers: tuple[int, int], radius: int = 20) -> Boxes:
    return np.array([(x - radius, y - radius, x + radius, y + radius) for x, y in centers], np.float32)


def extract(boxes: Boxes, logits: Floats, labels: list[int], scores: list[float] | None = None) -> Instances:
    score_array = np.array(scores or [0.9] * len(boxes), np.float32)
    return extract_instances(boxes, score_array, np.array(labels, np.int64), margins_from_logits(logits), SIZE)


def test_mask_of_one_object_is_the_class_map_in_its_box() -> None:
    logits = discs((40, 40))
    single = extract(square_boxes((40, 40)), logits, [0])
    assert len(single) == 1
    np.testing.assert_array_equal(single.mask(0), logits.argmax(0) == 1)


def test_touching_objects_of_one_class_are_separated_between_their_centers() -> None:
    centers = (40, 40), (70, 40)
    both = extract(square_boxes(*centers), discs(*centers), [0, 0])
    left, right = both.mask(0), both.mask(1)
    assert not (left & right).any()
    np.testing.assert_array_equal(left | right, discs(*centers).argmax(0) == 1)
    x = np.arange(SIZE[1]) + 0.5
    assert not left[:, x > 55].any()
    assert not right[:, x < 55].any()


def test_box_with_a_much_lower_score_takes_no_pixels() -> None:
    centers = (40, 40), (50, 40)
    alone = extract(square_boxes(centers[0]), discs(*centers), [0]).mask(0)
    np.testing.assert_array_equal(extract(square_boxes(*centers), discs(*centers), [0, 0], [0.9, 0.2]).mask(0), alone)
    assert extract(square_boxes(*centers), discs(*centers), [0, 0], [0.9, 0.8]).mask(0).sum() < alone.sum()


def test_box_wins_where_its_class_is_nearly_the_best() -> None:
    """The class map has another class; the logit of the box's class is not far below."""
    logits = discs((40, 40), label=1)
    logits[1] = logits[2] - 1
    assert (logits.argmax(0) != 1).all()
    np.testing.assert_array_equal(extract(square_boxes((40, 40)), logits, [0]).mask(0), logits.argmax(0) == 2)


def test_mask_grows_to_fill_its_box() -> None:
    """The upper half has high logits; the lower is 2.5 logits below background, but inside the box."""
    logits = discs((40, 40))
    lower = np.arange(SIZE[0])[:, None] > 40
    disc = logits.argmax(0) == 1
    logits[1] = np.where(disc & lower, logits[0] - 2.5, logits[1])
    mask = extract(square_boxes((40, 40)), logits, [0]).mask(0)
    assert (mask & lower & disc).sum() > 0.9 * (lower & disc).sum()


def test_ellipse_replaces_an_empty_mask() -> None:
    mask = extract(square_boxes((40, 40)), discs((100, 10), radius=5), [0]).mask(0)
    assert mask.sum() == pytest.approx(np.pi * 20**2, rel=0.02)
    assert mask[40, 40]
    assert not mask[22, 22]


def draw_boxes(draw: Any, count: int) -> Boxes:
    number = st.floats(-5, 125, width=32)
    corners = [sorted((draw(number), draw(number))) + sorted((draw(number), draw(number))) for _ in range(count)]
    return np.array([(a, c, b, d) for a, b, c, d in corners], np.float32).reshape(-1, 4)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(0, 5), st.integers(0, 1000))
def test_masks_stay_inside_their_boxes_and_do_not_overlap(data: st.DataObject, count: int, seed: int) -> None:
    boxes = draw_boxes(data.draw, count)
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (3, 10, 15)).astype(np.float32)
    labels = random.integers(0, 2, count).tolist()
    instances = extract(boxes, logits, labels)
    for index in range(count):
        rows, columns = instances.crops[index]
        outside = instances.mask(index).copy()
        outside[rows, columns] = False
        assert not outside.any()
        x1, y1, x2, y2 = boxes[index].clip(0, [120, 80, 120, 80])
        assert rows.start >= min(y1 - 0.5, 79)
        assert rows.stop <= max(y2 + 0.5, rows.start + 1)
        assert columns.start >= min(x1 - 0.5, 119)
        assert columns.stop <= max(x2 + 0.5, columns.start + 1)
        for previous in range(index):
            if labels[index] == labels[previous]:
                assert not (instances.mask(index) & instances.mask(previous)).any()


def reference_mask(box: Floats, logits: Floats, label: int) -> Mask:
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
def test_mask_equals_the_reference(seed: int) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (4, 10, 15)).astype(np.float32)
    corner, sides = random.uniform(0, 40, 2), random.uniform(15, 40, 2)
    box = np.array([*corner, *(corner + sides)], np.float32)
    mask = extract(box[None], logits, [1]).mask(0)
    assert (mask != reference_mask(box, logits, 1)).mean() < 1e-3


def test_panoptic_has_one_segment_for_every_pixel() -> None:
    logits = discs((40, 40), (70, 40))
    logits[2] = discs((110, 10), radius=8)[1] + 1  # a class without a box
    boxes, scores = square_boxes((40, 40), (70, 40)), np.array([0.7, 0.9], np.float32)
    result = Result(boxes, scores, np.zeros(2, np.int64), ("a", "b"), SIZE, Segmentation.from_logits(logits, SIZE))
    panoptic = result.panoptic()
    assert [(s.id, s.label, s.score) for s in panoptic.segments_info] == [
        (1, 0, pytest.approx(0.9)),
        (2, 0, pytest.approx(0.7)),
        (3, 1, None),
    ]
    assert [(panoptic.segmentation == s.id).sum() for s in panoptic.segments_info] == [
        s.area for s in panoptic.segments_info
    ]
    np.testing.assert_array_equal(panoptic.segmentation > 0, logits.argmax(0) > 0)
    np.testing.assert_array_equal(panoptic.segmentation == 3, logits.argmax(0) == 2)


def test_shared_pixels_go_to_the_detection_of_the_class_maps_class() -> None:
    """A person on a horse: the better box covers the second, whose class has the higher logits there."""
    logits = discs((40, 40))
    half = (logits.argmax(0) == 1) & (np.arange(SIZE[1]) < 40)
    logits[2] = np.where(half, logits[1] + 1, 0)
    boxes, scores = square_boxes((40, 40), (40, 40)), np.array([0.9, 0.5], np.float32)
    result = Result(boxes, scores, np.arange(2), ("a", "b"), SIZE, Segmentation.from_logits(logits, SIZE))
    np.testing.assert_array_equal(result.panoptic().segmentation == 2, half)
    assert result.instances().mask(0)[half].all()


def test_tiny_region_without_a_box_is_no_segment() -> None:
    class_map = np.zeros(SIZE, np.uint8)
    class_map[:5, :9] = 1  # 45 pixels, less than 0.5 % of the image
    empty = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    panoptic = merge_panoptic(extract_instances(*empty, margins_from_class_map(class_map), SIZE), class_map)
    assert not panoptic.segments_info
    assert not panoptic.segmentation.any()


@pytest.mark.parametrize(("pixels", "value", "areas"), [(48, 1, [48]), (47, 1, []), (4800, 255, [])])
def test_a_region_without_a_box_needs_half_a_percent_of_the_image(pixels: int, value: int, areas: list[int]) -> None:
    """48 of 9600 pixels are enough; ignored pixels, 255, are no class."""
    class_map = np.zeros(SIZE, np.uint8)
    class_map.ravel()[:pixels] = value
    empty = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    panoptic = merge_panoptic(extract_instances(*empty, margins_from_class_map(class_map), SIZE), class_map)
    assert [segment.area for segment in panoptic.segments_info] == areas


def test_pixels_of_a_detected_class_outside_all_boxes_are_background() -> None:
    """Another disc of the class has no box."""
    class_map = discs((40, 40), (90, 50)).argmax(0).astype(np.uint8)
    boxes, scores, labels = square_boxes((40, 40)), np.ones(1, np.float32), np.zeros(1, np.int64)
    instances = extract_instances(boxes, scores, labels, margins_from_class_map(class_map), SIZE)
    panoptic = merge_panoptic(instances, class_map)
    assert [segment.id for segment in panoptic.segments_info] == [1]
    np.testing.assert_array_equal(panoptic.segmentation > 0, instances.mask(0))


@pytest.mark.parametrize(("min_gain", "rows"), [(0.02, 36), (0.01, 37)])
def test_a_mask_grows_only_for_a_clear_gain(min_gain: float, rows: int) -> None:
    """The first threshold reaches 36 x 36 of 40 x 40 pixels, 0.81; the second 37 x 40, 0.925 less the cost of 0.1."""
    margin = np.full(SIZE, -50, np.float32)
    margin[22:58, 22:58] = 5
    margin[58, 20:60] = -0.5
    box, config = square_boxes((40, 40)), InstanceConfig(box_prior_logit=0.0, min_gain=min_gain)
    mask = extract_instances(box, np.ones(1, np.float32), np.zeros(1, np.int64), lambda _: margin, SIZE, config).mask(0)
    assert mask.any(1).sum() == rows


def test_panoptic_without_boxes_has_the_class_maps_regions() -> None:
    class_map = np.zeros(SIZE, np.uint8)
    class_map[:10], class_map[20:30] = 2, 1
    empty: tuple[Boxes, Scores, Labels] = (
        np.zeros((0, 4), np.float32),
        np.zeros(0, np.float32),
        np.zeros(0, np.int64),
    )
    panoptic = merge_panoptic(extract_instances(*empty, margins_from_class_map(class_map), SIZE), class_map)
    assert [(s.label, s.score, s.area) for s in panoptic.segments_info] == [(0, None, 1200), (1, None, 1200)]


def test_instances_from_a_class_map_without_logits() -> None:
    """As in a result that was read from a file."""
    class_map = (discs((40, 40)).argmax(0)).astype(np.uint8)
    result = Result(
        square_boxes((40, 40)),
        np.ones(1, np.float32),
        np.zeros(1, np.int64),
        ("a", "b"),
        SIZE,
        Segmentation.from_class_map(class_map),
    )
    np.testing.assert_array_equal(result.instances().mask(0), class_map == 1)


def test_instances_need_a_segmentation() -> None:
    result = Result(square_boxes((40, 40)), np.ones(1, np.float32), np.zeros(1, np.int64), ("a",), SIZE)
    with pytest.raises(UsageError, match="expected a segmentation to compute instances from, got none"):
        result.instances()
    with pytest.raises(UsageError, match="expected a segmentation to compute instances from, got none"):
        result.panoptic()


def test_panoptic_to_dict_has_cocos_keys() -> None:
    class_map = np.zeros(SIZE, np.uint8)
    class_map[:10] = 2
    boxes, scores = square_boxes((40, 40)), np.array([0.75], np.float32)
    result = Result(boxes, scores, np.zeros(1, np.int64), ("a", "b"), SIZE, Segmentation.from_class_map(class_map))
    panoptic = result.panoptic()
    segments = panoptic.to_dict()["segments_info"]
    assert [tuple(segment) for segment in segments] == [("id", "category_id", "score", "area", "isthing")] * 2
    assert [tuple(segment.values()) for segment in segments] == [
        (1, 0, 0.75, panoptic.segments_info[0].area, True),
        (2, 1, None, 1200, False),
    ]


def test_config_changes_the_masks() -> None:
    logits = discs((40, 40))
    config = InstanceConfig(min_mask_area=1.0)
    mask = extract_instances(
        square_boxes((40, 40)), np.ones(1, np.float32), np.zeros(1, np.int64), margins_from_logits(logits), SIZE, config
    ).mask(0)
    assert mask.sum() == pytest.approx(np.pi * 20**2, rel=0.02)  # the ellipse
