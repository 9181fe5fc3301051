"""Copy-paste: which objects are cut out, and what pasting does to the labels."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blitznet.core.image import ImageSource
from blitznet.core.sample import ANY_CLASS, Sample
from blitznet.data.color_jitter import ColorStep
from blitznet.data.copy_paste import MAX_SIZE, MIN_VISIBLE, Instance, cut_out, paste, pasteable_objects
from blitznet.data.masks import MaskObject, RasterizedMask
from blitznet.data.train_sample import TrainSample
from support.synthetic_data import ArrayMask

HEIGHT, WIDTH = 96, 128
SIZE, MAP = (100, 120), (50, 60)
RED = (250, 20, 20)


def make_sample(*objects: tuple[int, tuple[int, int, int, int]], **changes: object) -> Sample:
    """Rectangles of labels; the class map has them in this order, and the image is red there."""
    image, class_map = np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    for label, (x1, y1, x2, y2) in objects:
        image[y1:y2, x1:x2] = RED
        class_map[y1:y2, x1:x2] = label + 1
    count = len(objects)
    sample = Sample(
        id="source",
        image=ImageSource(image),
        boxes=np.array([box for _, box in objects], np.float32).reshape(-1, 4),
        labels=np.array([label for label, _ in objects], np.int64),
        difficult=np.zeros(count, bool),
        crowd=np.zeros(count, bool),
        annotated_box_classes=np.ones(3, bool),
        annotated_mask_classes=np.ones(3, bool),
        mask=ArrayMask(class_map),
    )
    return replace(sample, **changes)  # type: ignore[arg-type] # fields of the sample


A, B, TOUCHING, SMALL = (4, 4, 44, 64), (60, 10, 110, 60), (40, 20, 90, 80), (4, 4, 24, 64)
POLYGON = np.array([4, 4, 44, 4, 44, 64, 4, 64], np.float64)


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (make_sample((0, A)), [True]),
        (make_sample((0, A), (0, B)), [True, True]),
        (make_sample((0, A), (0, TOUCHING)), [False, False]),
        (make_sample((0, A), (1, TOUCHING)), [True, True]),
        (make_sample((0, A), (ANY_CLASS, TOUCHING)), [False, False]),
        (make_sample((0, SMALL)), [False]),
        (make_sample((0, A), crowd=np.ones(1, bool)), [False]),
        (make_sample((0, A), difficult=np.ones(1, bool)), [False]),
        (make_sample((0, A), annotated_box_classes=np.array([False, True, True])), [False]),
        (make_sample((0, A), annotated_mask_classes=np.array([False, True, True])), [False]),
        (make_sample((0, A), mask=None, annotated_mask_classes=np.zeros(3, bool)), [False]),
        (make_sample(), []),
    ],
)
def test_only_objects_whose_pixels_are_known_are_pasted(sample: Sample, expected: list[bool]) -> None:
    assert pasteable_objects(sample).tolist() == expected


def outlined(*, second_outline: bool = True) -> Sample:
    """Two overlapping objects of one class with outlines of their own; the second covers the first."""
    second = np.array([40, 20, 90, 20, 90, 80, 40, 80], np.float64)
    mask = RasterizedMask(
        "source",
        (HEIGHT, WIDTH),
        (MaskObject(1, A, (POLYGON,)), MaskObject(1, TOUCHING, (second,) if second_outline else ())),
    )
    return make_sample((0, A), (0, TOUCHING), mask=mask)


def test_outlines_separate_overlapping_objects() -> None:
    sample = outlined()
    assert pasteable_objects(sample).tolist() == [True, True]
    first, second = cut_out(sample, 0), cut_out(sample, 1)
    assert first is not None
    assert second is not None
    assert first.pixels.sum() == 40 * 60 - 4 * 44
    assert second.pixels.sum() == 50 * 60
    assert first.box == A
    assert second.box == TOUCHING


def test_an_object_without_an_outline_is_not_pasted() -> None:
    assert pasteable_objects(outlined(second_outline=False)).tolist() == [True, False]


def test_pixels_of_others_and_ignored_pixels_are_not_cut_out() -> None:
    sample = make_sample((0, A), (1, (20, 4, 44, 30)))
    assert sample.mask is not None
    class_map = sample.mask.read()
    class_map[60:64, 4:44] = 255
    instance = cut_out(sample, 0)
    assert instance is not None
    assert instance.box == (4, 4, 44, 60)
    np.testing.assert_array_equal(instance.pixels, class_map == 1)


def test_an_object_that_the_mask_misses_is_not_cut_out() -> None:
    sample = make_sample((0, A))
    assert sample.mask is not None
    sample.mask.read()[5:] = 0
    assert cut_out(sample, 0) is None


def make_target(boxes: list[list[float]], *, soft: bool = False, annotated: int = 3) -> TrainSample:
    """Black, with boxes of class 1 as fractions."""
    count = len(boxes)
    soft_labels = np.zeros((4, 10, 12), np.uint8)
    soft_labels[0, :, :6] = 255
    return TrainSample(
        id="target",
        image=np.zeros((*SIZE, 3), np.uint8),
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.ones(count, np.int64),
        crowd=np.zeros(count, bool),
        class_map=np.zeros(MAP, np.uint8),
        annotated_box_classes=np.arange(3) < annotated,
        annotated_mask_classes=np.ones(3, bool),
        soft_labels=soft_labels if soft else None,
    )


def red_instance(box: tuple[int, int, int, int] = A, label: int = 2) -> Instance:
    instance = cut_out(make_sample((label, box)), 0)
    assert instance is not None
    return instance


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_pasted_pixels_box_and_maps_agree(seed: int) -> None:
    made = paste(make_target([], soft=True), red_instance(), np.random.default_rng(seed))
    x1, y1, x2, y2 = np.rint(made.boxes[0] * (*SIZE[::-1], *SIZE[::-1])).astype(int)
    assert made.labels.tolist() == [2]
    assert made.crowd.tolist() == [False]
    assert max((x2 - x1) / SIZE[1], (y2 - y1) / SIZE[0]) <= MAX_SIZE + 0.01
    is_red = made.image[:, :, 0] > 125
    rows, columns = np.nonzero(is_red)
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (x1, y1, x2, y2)
    assert is_red[y1:y2, x1:x2].all()
    assert (made.class_map == 3).mean() == pytest.approx(is_red.mean(), abs=0.03)
    assert made.class_map[(y1 + y2) // 4, (x1 + x2) // 4] == 3
    assert set(np.unique(made.class_map)) == {0, 3}
    soft = made.soft_labels
    assert soft is not None
    np.testing.assert_allclose(soft.sum(0, dtype=int)[:, :6], 255, atol=1)
    whole = np.zeros((10, 12), bool)
    whole[-(-y1 // 10) : y2 // 10, -(-x1 // 10) : x2 // 10] = True
    assert (soft[3][whole] == 255).all()
    outside = (soft.max(0) > 0)[:, 6:] & ~np.pad(whole, 1)[1:-1, 1:-1][:, 6:]
    assert not (outside & (soft[3][:, 6:] < 255)).any()


def test_a_class_that_the_teacher_lacks_has_no_soft_label() -> None:
    target = replace(make_target([], soft=True), soft_classes=np.array([True, True, False]))
    made = paste(target, red_instance(), np.random.default_rng(0))
    assert made.soft_labels is not None
    assert target.soft_labels is not None
    x1, y1, x2, y2 = np.rint(made.boxes[0] * (*SIZE[::-1], *SIZE[::-1])).astype(int)
    touched = np.zeros((10, 12), bool)
    touched[y1 // 10 : -(-y2 // 10), x1 // 10 : -(-x2 // 10)] = True
    assert (made.soft_labels[:, touched] == 0).all()
    np.testing.assert_array_equal(made.soft_labels[:, ~touched], target.soft_labels[:, ~touched])


def test_the_shape_is_flipped_with_its_pixels() -> None:
    sample = make_sample((2, A))
    assert sample.mask is not None
    sample.mask.read()[4:34, 4:24] = 0  # an L: the upper left quarter is missing
    instance = cut_out(sample, 0)
    assert instance is not None
    sides = set()
    for seed in range(20):
        made = paste(make_target([]), instance, np.random.default_rng(seed))
        x1, y1, x2, y2 = np.rint(made.boxes[0] * (60, 50, 60, 50)).astype(int)
        shape, pixels = made.class_map[y1:y2, x1:x2] == 3, made.image[2 * y1 : 2 * y2, 2 * x1 : 2 * x2, 0]
        quarters = shape[: len(shape) // 3, : shape.shape[1] // 3], shape[: len(shape) // 3, -shape.shape[1] // 3 :]
        missing_left, missing_right = (not quarter.any() for quarter in quarters)
        assert missing_left != missing_right
        third = pixels.shape[1] // 3
        corner = pixels[: len(pixels) // 3, :third] if missing_left else pixels[: len(pixels) // 3, -third:]
        assert corner.max() < 60
        sides.add(missing_left)
    assert sides == {True, False}


def test_nothing_is_pasted_where_the_class_is_not_annotated() -> None:
    target = make_target([[0.1, 0.1, 0.4, 0.4]], annotated=2)
    assert paste(target, red_instance(), np.random.default_rng(0)) is target


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6))
def test_boxes_behind_the_object_are_cut_ignored_or_dropped(seed: int) -> None:
    boxes = [[0.1, 0.1, 0.4, 0.4], [0.5, 0.2, 0.9, 0.9], [0.3, 0.6, 0.34, 0.64], [0.0, 0.0, 1.0, 1.0]]
    target = make_target(boxes)
    made = paste(target, red_instance(), np.random.default_rng(seed))
    covered = made.image[:, :, 0] > 125
    expected = []
    for box in np.array(boxes):
        x1, y1, x2, y2 = np.rint(box * (*SIZE[::-1], *SIZE[::-1])).astype(int)
        visible = ~covered[y1:y2, x1:x2]
        if not visible.any():
            continue
        rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
        ignored = visible.mean() < MIN_VISIBLE
        cut = (x1 + columns[0], y1 + rows[0], x1 + columns[-1] + 1, y1 + rows[-1] + 1)
        expected.append(((x1, y1, x2, y2) if ignored else cut, ignored))
    actual = np.rint(made.boxes[:-1] * (*SIZE[::-1], *SIZE[::-1])).astype(int)
    assert [(tuple(box), bool(crowd)) for box, crowd in zip(actual.tolist(), made.crowd, strict=False)] == [
        (tuple(map(int, box)), bool(ignored)) for box, ignored in expected
    ]
    assert made.labels.tolist() == [*[1] * len(expected), 2]


def test_colors_of_the_object_alone_change() -> None:
    target = replace(make_target([]), image=np.full((*SIZE, 3), 90, np.uint8))
    made = paste(target, red_instance(), np.random.default_rng(1), (ColorStep("brightness", -60.0),))
    x1, y1, x2, y2 = np.rint(made.boxes[0] * (*SIZE[::-1], *SIZE[::-1])).astype(int)
    np.testing.assert_array_equal(made.image[(y1 + y2) // 2, (x1 + x2) // 2], [190, 0, 0])
    made.image[y1:y2, x1:x2] = 90
    assert (made.image == 90).all()


def test_the_target_is_not_changed() -> None:
    target = make_target([[0.1, 0.1, 0.4, 0.4]], soft=True)
    before = target.image.copy(), target.boxes.copy(), target.class_map.copy()
    paste(target, red_instance(), np.random.default_rng(0))
    for old, new in zip(before, (target.image, target.boxes, target.class_map), strict=True):
        np.testing.assert_array_equal(old, new)
