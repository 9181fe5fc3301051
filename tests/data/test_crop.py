from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blitznet.core.arrays import Boxes, ClassMap
from blitznet.core.boxes import area, intersection, iou
from blitznet.data.crop import (
    CropWindow,
    coverage_crop,
    full_window,
    iou_crop,
    resample_class_map,
    scale_jitter,
    transform_boxes,
    visible_span,
    zoom_out,
)

IMAGE = (200, 300)
CANVAS = full_window(IMAGE)
OBJECT = np.array([[90, 60, 180, 140]], np.float32)
NO_OBJECTS = np.zeros((0, 4), np.float32)
CropFunction = Callable[..., CropWindow]

windows = st.builds(
    lambda x, y, w, h, flipped: CropWindow(x, y, x + w, y + h, flipped),
    st.floats(-300, 200),
    st.floats(-200, 150),
    st.floats(60, 900),
    st.floats(40, 700),
    st.booleans(),
)


def area_ratio(window: CropWindow, canvas: CropWindow = CANVAS) -> float:
    return window.width * window.height / (canvas.width * canvas.height)


def as_box(window: CropWindow) -> Boxes:
    return np.array([[window.x1, window.y1, window.x2, window.y2]], np.float32)


@given(windows)
def test_two_flips_are_the_identity(window: CropWindow) -> None:
    assert window.flip() != window
    assert window.flip().flip() == window


def test_normalize_boxes_computed_by_hand() -> None:
    window = CropWindow(50, 0, 250, 100)
    boxes = np.array([[100, 50, 200, 150]], np.float32)
    assert window.normalize_boxes(boxes).tolist() == [[0.25, 0.5, 0.75, 1.5]]
    flipped_boxes = np.array([[60, 50, 100, 100]], np.float32)
    assert window.flip().normalize_boxes(flipped_boxes)[0] == pytest.approx([0.75, 0.5, 0.95, 1.0])


def test_crop_of_a_flipped_window() -> None:
    assert CropWindow(-100, 0, 300, 200, flipped=True).crop(np.array([0.25, 0.5, 0.5, 1], np.float32)) == CropWindow(
        0, 100, 100, 200, flipped=True
    )


@given(st.floats(1, 4), st.integers(0, 99))
def test_zoom_out_contains_the_whole_image(ratio: float, seed: int) -> None:
    window = zoom_out(IMAGE, ratio, np.random.default_rng(seed))
    assert window.width == pytest.approx(300 * ratio)
    assert window.height == pytest.approx(200 * ratio)
    assert window.x1 <= 1e-9
    assert window.y1 <= 1e-9
    assert window.x2 >= 300 - 1e-9
    assert window.y2 >= 200 - 1e-9


@given(st.floats(0.1, 2.0), st.integers(0, 10**6))
def test_scale_jitter_contains_the_image_or_is_inside_it(scale: float, seed: int) -> None:
    window = scale_jitter(IMAGE, scale, np.random.default_rng(seed))
    assert window.width * scale == pytest.approx(IMAGE[1])
    assert window.height * scale == pytest.approx(IMAGE[0])
    sign = 1 if scale <= 1 else -1
    assert sign * window.x1 <= 1e-6
    assert sign * window.y1 <= 1e-6
    assert sign * (window.x2 - IMAGE[1]) >= -1e-6
    assert sign * (window.y2 - IMAGE[0]) >= -1e-6


@pytest.mark.parametrize("crop", [iou_crop, coverage_crop])
@pytest.mark.parametrize(
    "boxes", [NO_OBJECTS, OBJECT, np.repeat(OBJECT, 3, 0) + np.array([[0], [20], [-60]], np.float32)]
)
def test_crops_are_inside_the_canvas_and_deterministic(crop: CropFunction, boxes: Boxes) -> None:
    canvas = CropWindow(-150, -40, 450, 360)
    for seed in range(40):
        window = crop(canvas, boxes, np.random.default_rng(seed))
        assert window == crop(canvas, boxes, np.random.default_rng(seed))
        assert canvas.x1 - 1e-3 <= window.x1 < window.x2 <= canvas.x2 + 1e-3
        assert canvas.y1 - 1e-3 <= window.y1 < window.y2 <= canvas.y2 + 1e-3
        assert area_ratio(window, canvas) >= 0.3**2 - 1e-6


def test_iou_crop_keeps_the_canvas_in_one_of_seven_cases() -> None:
    large = np.array([[30, 20, 280, 190]], np.float32)  # every threshold can be reached
    crops = [iou_crop(CANVAS, large, np.random.default_rng(seed)) for seed in range(1400)]
    fraction = np.mean([crop == CANVAS for crop in crops])
    assert fraction == pytest.approx(1 / 7, abs=0.03)


def test_iou_crop_reaches_its_thresholds() -> None:
    """At least 2/7 of the crops exceed 0.7 (or 0.9), 3/7 exceed 0.5, and so on."""
    large = np.array([[30, 20, 280, 190]], np.float32)
    overlaps = np.array(
        [iou(as_box(iou_crop(CANVAS, large, np.random.default_rng(seed))), large)[0, 0] for seed in range(700)]
    )
    for threshold, fraction in ((0.7, 2 / 7), (0.5, 3 / 7), (0.3, 4 / 7), (0.1, 5 / 7)):
        assert np.mean(overlaps >= threshold) > fraction - 0.04


def test_min_scale_bounds_the_area() -> None:
    for seed in range(60):
        window = iou_crop(CANVAS, OBJECT, np.random.default_rng(seed), min_scale=0.7)
        assert area_ratio(window) >= 0.49 - 1e-6


def test_coverage_crop_has_the_original_aspects_areas_and_coverage() -> None:
    crops = [coverage_crop(CANVAS, OBJECT, np.random.default_rng(seed)) for seed in range(600)]
    aspects = np.array([crop.width / crop.height for crop in crops])
    areas = np.array([area_ratio(crop) for crop in crops])
    assert aspects.min() >= 0.5 - 1e-5
    assert aspects.max() <= 2 + 1e-5
    assert areas.min() >= 0.3 - 1e-5
    coverage = np.array([intersection(as_box(crop), OBJECT)[0, 0] for crop in crops]) / area(OBJECT)[0]
    assert np.mean(coverage >= 0.9) > 1 / 6 - 0.04
    assert np.mean(coverage >= 0.1 - 1e-6) > 5 / 6 - 0.04


def test_coverage_crop_has_mean_area_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """As measured on the original implementation: mean area about 0.50 for thresholds up to 0.3, always cropped."""
    monkeypatch.setattr("blitznet.data.crop.COVERAGE_THRESHOLDS", (0.0, 0.1, 0.3))
    small = np.array([[140, 90, 170, 110]], np.float32)
    crops = [coverage_crop(CANVAS, small, np.random.default_rng(seed)) for seed in range(1500)]
    assert np.mean([area_ratio(crop) for crop in crops]) == pytest.approx(0.5, abs=0.04)
    assert CANVAS not in crops


def test_coverage_crop_keeps_the_canvas_if_no_try_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blitznet.data.crop.COVERAGE_THRESHOLDS", (0.9,))
    frame = np.array([[0, 0, 300, 200]], np.float32)
    uncropped = np.mean([coverage_crop(CANVAS, frame, np.random.default_rng(seed)) == CANVAS for seed in range(400)])
    # 1/5 of the aspects can cover 90 %, with 1/17 of their heights: all 50 tries fail for half of the images
    assert uncropped == pytest.approx(0.53, abs=0.1)


@pytest.mark.parametrize(
    ("box", "crowd", "expected"),
    [
        ([60, 10, 160, 90], False, [0.05, 0.1, 0.55, 0.9]),
        ([0, 10, 99, 90], False, None),  # center at 49.5: outside
        ([0, 0, 100, 100], False, [0, 0, 0.25, 1]),  # center at 50: on the edge
        ([0, 10, 99, 90], True, [0, 0.1, 0.245, 0.9]),  # a crowd may have its center outside
        ([0, 10, 49, 90], True, None),
        ([100, 50, 101, 90], False, None),  # 1.5 of 300 pixels
        ([100, 50, 102, 90], False, [0.25, 0.5, 0.26, 0.9]),
    ],
)
def test_transform_boxes_computed_by_hand(box: list[float], crowd: bool, expected: list[float] | None) -> None:
    window = CropWindow(50, 0, 250, 100)
    boxes, indices = transform_boxes(
        window, np.array([box], np.float32), np.array([crowd]), min_size=(2 / 300, 2 / 300)
    )
    assert indices.tolist() == ([] if expected is None else [0])
    if expected is not None:
        assert boxes[0] == pytest.approx(expected, abs=1e-6)


@given(windows, st.integers(0, 999))
def test_transformed_boxes_are_inside_the_window(window: CropWindow, seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, 300, (8, 2, 2)), axis=1).reshape(8, 4).astype(np.float32)
    boxes, indices = transform_boxes(window, corners, rng.random(8) < 0.3, min_size=(0.01, 0.02))
    assert len(boxes) == len(indices)
    assert (boxes >= 0).all()
    assert (boxes <= 1).all()
    assert (boxes[:, 2] - boxes[:, 0] >= 0.02).all()
    assert (boxes[:, 3] - boxes[:, 1] >= 0.01).all()


@settings(deadline=None)
@given(
    windows,
    st.integers(0, 250),
    st.integers(0, 160),
    st.integers(20, 200),
    st.integers(20, 150),
)
def test_class_map_and_box_stay_aligned(window: CropWindow, x: int, y: int, w: int, h: int) -> None:
    x2, y2 = min(x + w, 300), min(y + h, 200)
    class_map = np.zeros(IMAGE, np.uint8)
    class_map[y:y2, x:x2] = 3
    resampled = resample_class_map(class_map, window, (75, 75), fill=0)
    transformed = window.normalize_boxes(np.array([[x, y, x2, y2]], np.float32)).clip(0, 1)[0] * 75
    rows, columns = np.nonzero(resampled)
    if len(rows) == 0:
        assert min(transformed[2] - transformed[0], transformed[3] - transformed[1]) < 1.001
        return
    extent = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert extent == pytest.approx(transformed.tolist(), abs=1.001)


def resample_pixelwise(class_map: ClassMap, window: CropWindow, size: tuple[int, int], fill: int) -> ClassMap:
    resampled = np.full(size, fill, np.uint8)
    for row in range(size[0]):
        for column in range(size[1]):
            x = window.x1 + (column + 0.5) * (window.x2 - window.x1) / size[1]
            y = window.y1 + (row + 0.5) * (window.y2 - window.y1) / size[0]
            if 0 <= x < class_map.shape[1] and 0 <= y < class_map.shape[0]:
                resampled[row, column] = class_map[int(y), int(x)]
    return resampled[:, ::-1] if window.flipped else resampled


@settings(deadline=None, max_examples=40)
@given(windows, st.sampled_from([0, 255]))
def test_resample_equals_the_pixelwise_version(window: CropWindow, fill: int) -> None:
    class_map = np.random.default_rng(0).integers(0, 21, IMAGE, np.uint8)
    expected = resample_pixelwise(class_map, window, (9, 13), fill)
    assert np.array_equal(resample_class_map(class_map, window, (9, 13), fill=fill), expected)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 300, (0, 100, 0, 300)),
        (30, 90, (0, 100, 30, 90)),
        (-300, 600, (34, 66, 6, 294)),  # 9 pixels per output pixel: starts at 33 1/3 and 66 2/3 are rounded inwards
        (-300, -10, (104, 100, 1.6, -10)),  # outside the image
    ],
)
def test_visible_span_computed_by_hand(low: float, high: float, expected: tuple[int, int, float, float]) -> None:
    actual = visible_span(low, high, 300, 100)
    assert (actual[1] <= actual[0]) == (expected[1] <= expected[0])
    if expected[1] > expected[0]:
        assert actual == pytest.approx(expected)


@given(windows)
def test_visible_pixels_are_on_the_image(window: CropWindow) -> None:
    first, last, low, high = visible_span(window.x1, window.x2, 300, 100)
    if last > first:
        assert 0 <= first < last <= 100
        assert 0 <= low < high <= 300
        assert (high - low) / (last - first) == pytest.approx(window.width / 100, rel=1e-4)
