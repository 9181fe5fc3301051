import time
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blitznet.core.arrays import ClassMap, RGBArray
from blitznet.core.classes import VOC, palette
from blitznet.core.errors import BlitzNetError, DataError
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample
from blitznet.drawing import annotate as annotate_module
from blitznet.drawing.annotate import (
    GRAY,
    BoxMark,
    Rectangle,
    annotate,
    annotate_sample,
    class_color,
    draw,
    palette_png,
    truth_marks,
)
from blitznet.drawing.text import text_width
from blitznet.postprocess.result import Result, Segmentation

DOG = VOC.index("dog")
SIZE = (160, 240)


def gray_image(value: int = 128, size: tuple[int, int] = SIZE) -> RGBArray:
    return np.full((*size, 3), value, np.uint8)


def result(size: tuple[int, int] = SIZE, class_map: ClassMap | None = None) -> Result:
    return Result(
        boxes=np.array([[60, 40, 180, 130]], np.float32),
        scores=np.array([0.93], np.float32),
        labels=np.array([DOG]),
        class_names=VOC,
        size=size,
        segmentation=None if class_map is None else Segmentation.from_class_map(class_map),
    )


def test_annotate_draws_box_label_and_class_map_on_a_copy() -> None:
    class_map = np.zeros(SIZE, np.uint8)
    class_map[60:110, 90:150] = DOG + 1
    image = gray_image()
    annotated = annotate(image, result(class_map=class_map))
    color = np.array(class_color(DOG))
    assert annotated.shape == image.shape
    assert annotated.dtype == np.uint8
    assert (image == 128).all()
    assert (annotated[40, 170] == color).all()  # the box
    assert (annotated[129, 170] == color).all()
    assert (annotated[60, 120] == color).all()  # the contour
    assert annotated[85, 120] == pytest.approx(128 + (color - 128) * 0.45, abs=1)  # the tint
    assert (annotated[140, 20] == 128).all()  # background


@pytest.mark.parametrize("value", [0, 255])
def test_boxes_are_visible_on_dark_and_on_light_images(value: int) -> None:
    annotated = annotate(gray_image(value), result()).astype(int)
    across = annotated[85, 55:70].sum(-1)
    assert np.ptp(across) > 250


@pytest.mark.parametrize("size", [(1, 1), (20, 16), (97, 640), (1200, 900)])
def test_annotate_any_image_size(size: tuple[int, int]) -> None:
    boxes = np.array([[0, 0, size[1], size[0]]], np.float32)
    result_of_size = Result(
        boxes, np.ones(1, np.float32), np.array([3]), VOC, size, Segmentation.from_class_map(np.full(size, 4, np.uint8))
    )
    assert annotate(gray_image(90, size), result_of_size).shape == (*size, 3)


def test_line_width_scales_with_the_image() -> None:
    def thickness(scale: int) -> int:
        size = (160 * scale, 240 * scale)
        mark = BoxMark((60.0 * scale, 40.0 * scale, 180.0 * scale, 130.0 * scale), "", class_color(DOG))
        annotated = draw(gray_image(size=size), [mark])
        return int((annotated[85 * scale, : 100 * scale] == class_color(DOG)).all(-1).sum())

    assert thickness(1) == 2
    assert thickness(6) == 4


def label_positions(boxes: list[tuple[float, float, float, float]], size: tuple[int, int]) -> list[Rectangle | None]:
    """Rectangles of labels `dog 0.93` for boxes on an image of (H, W)."""
    font_size = annotate_module._font_size(min(size))
    marks = [BoxMark(box, "dog 0.93", (255, 0, 0)) for box in boxes]
    return annotate_module._place_labels(marks, [mark.text for mark in marks], font_size, size[::-1])


def overlapping(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@pytest.mark.parametrize("count", [2, 5, 150])
@pytest.mark.parametrize("spread", [0.0, 0.6])
def test_labels_never_hide_each_other(count: int, spread: float) -> None:
    rng = np.random.default_rng(count)
    corners = rng.uniform(0, spread, (count, 2)) * (640, 480) + (100, 100)
    boxes = [(x, y, x + 90, y + 120) for x, y in corners.clip(0, 360).tolist()]
    positions = [position for position in label_positions(boxes, (480, 640)) if position is not None]
    assert len(positions) == (count if count < 150 else len(positions))
    assert len(positions) > 10 or count < 150
    assert not any(overlapping(a, b) for a, b in combinations(positions, 2))
    assert all(x1 >= 0 and y1 >= 0 and x2 <= 640 and y2 <= 480 for x1, y1, x2, y2 in positions)


@pytest.mark.parametrize("size", [(300, 4000), (1000, 20000), (1600, 200), (375, 500), (2160, 3840), (200, 200)])
def test_labels_fit_the_shorter_side(size: tuple[int, int]) -> None:
    box = (0.1 * size[1], 0.3 * size[0], 0.6 * size[1], 0.9 * size[0])
    [position] = label_positions([box], size)
    assert position is not None
    assert 10 <= position[3] - position[1] <= min(size) / 10


def test_labels_do_not_cover_objects_of_tiny_images() -> None:
    assert label_positions([(5.0, 5.0, 60.0, 44.0)], (48, 64)) == [None]
    [position] = label_positions([(2.0, 40.0, 90.0, 70.0)], (80, 100))
    assert position is not None
    assert position[3] <= 40


def test_long_names_are_shortened_to_the_image_and_keep_the_score() -> None:
    font_size = annotate_module._font_size(100)
    text = annotate_module._fit("a very long name of a class 0.93", font_size, 90)
    assert text.startswith("a very")
    assert text.endswith("… 0.93")
    assert text_width(text, font_size) <= 90


@pytest.mark.parametrize("line_width", [2, 3, 4, 7, 18])
def test_contour_is_the_dilated_border(line_width: int) -> None:
    rng = np.random.default_rng(line_width)
    class_map = np.kron(rng.integers(0, 3, (4, 5)), np.ones((13, 11))).astype(np.uint8)
    radius = line_width // 2 if line_width > 2 else 0
    padded = np.pad(class_map, 1, mode="edge")
    edge = np.zeros(class_map.shape, bool)
    for y, x in ((0, 1), (2, 1), (1, 0), (1, 2)):
        edge |= padded[y : y + 52, x : x + 55] != class_map
    expected = np.zeros_like(edge)
    for y, x in zip(*edge.nonzero(), strict=True):
        expected[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1] = True
    assert np.array_equal(annotate_module._contour(class_map, line_width), expected & (class_map > 0))


def test_time_of_a_contour_grows_with_the_pixels() -> None:
    def seconds(scale: int) -> float:
        class_map = np.kron(np.eye(3), np.ones((50 * scale, 60 * scale))).astype(np.uint8)
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            annotate_module._contour(class_map, 2 * scale)
            best = min(best, time.process_time() - start)
        return best

    assert seconds(8) < 16 * 3 * seconds(2)


@pytest.mark.parametrize("size", [(150, 130), (700, 333), (333, 1100)])
def test_class_map_equals_a_blend_of_the_whole_image(size: tuple[int, int]) -> None:
    """Bands of rows and columns leave no seams: the same pixels as one slow blend of all."""
    rng = np.random.default_rng(size[0])
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    blocks = rng.choice([0, 0, 0, 1, 7, 255], (9, 9)).astype(np.uint8)
    class_map = np.array(Image.fromarray(blocks).resize((size[1], size[0]), Image.Resampling.NEAREST))
    class_map[:, size[1] - size[1] // 5 :] = 0  # columns and rows without a class
    class_map[size[0] - size[0] // 3 :] = 0
    line_width = annotate_module._line_width(min(size))
    radius = line_width // 2 if line_width > 2 else 0
    expected = image.copy()
    for y, x in np.argwhere(class_map > 0):
        value = int(class_map[y, x])
        near = [(y + dy, x + dx) for dy in range(-radius, radius + 1) for dx in range(-radius, radius + 1)]
        is_border = value < 255 and any(_touches_another_class(class_map, *pixel) for pixel in near)
        if value == 255:
            opacity, color = 0.7 if (y + x) // (line_width + 1) % 3 == 0 else 0.0, GRAY
        else:
            opacity, color = 1.0 if is_border else 0.45, class_color(value - 1)
        expected[y, x] = np.round(image[y, x] * (1 - opacity) + np.array(color) * opacity)
    drawn = draw(image, [], class_map)
    assert np.abs(drawn.astype(int) - expected).max() <= 1
    assert (drawn[class_map == 0] == image[class_map == 0]).all()


def _touches_another_class(class_map: ClassMap, y: int, x: int) -> bool:
    height, width = class_map.shape
    if not (0 <= y < height and 0 <= x < width):
        return False
    neighbors = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
    return any(0 <= a < height and 0 <= b < width and class_map[a, b] != class_map[y, x] for a, b in neighbors)


def test_annotate_takes_what_a_predictor_takes(tmp_path: Path) -> None:
    Image.fromarray(gray_image()).save(tmp_path / "a.png")
    expected = annotate(gray_image(), result())
    image = Image.fromarray(gray_image())
    for source in (tmp_path / "a.png", (tmp_path / "a.png").read_bytes(), image, ImageSource(gray_image())):
        assert np.array_equal(annotate(source, result()), expected)
    assert np.array_equal(np.asarray(image), gray_image())
    with pytest.raises(DataError, match="expected uint8 RGB, got float64"):
        annotate(gray_image() / 255, result())  # type: ignore[arg-type]


def test_image_of_another_size_is_refused() -> None:
    with pytest.raises(BlitzNetError, match=r"image: expected shape \(160, 240, 3\), got \(10, 20, 3\)"):
        annotate(gray_image(size=(10, 20)), result())


def test_truth_marks_name_crowds_and_difficult_objects() -> None:
    boxes = np.array([[0, 0, 50, 50], [60, 0, 100, 50], [0, 60, 50, 100]], np.float32)
    flags = np.array([False, True, False])
    marks = truth_marks(boxes, np.array([DOG, 0, 0]), flags, VOC, difficult=np.array([False, False, True]))
    assert [mark.text for mark in marks] == ["dog", "crowd", "aeroplane (difficult)"]
    assert [mark.dashed for mark in marks] == [False, True, False]
    assert marks[1].color == GRAY
    assert marks[1].box == (60, 0, 100, 50)


def test_dashed_boxes_have_gaps() -> None:
    solid = draw(gray_image(), [BoxMark((20.0, 40.0, 220.0, 150.0), "", (255, 0, 0))])
    dashed = draw(gray_image(), [BoxMark((20.0, 40.0, 220.0, 150.0), "", (255, 0, 0), dashed=True)])
    count = [int((annotated[149] == (255, 0, 0)).all(-1).sum()) for annotated in (solid, dashed)]
    assert 0.3 * count[0] < count[1] < 0.7 * count[0]


class VoidMask:
    def read(self) -> ClassMap:
        values = np.zeros(SIZE, np.uint8)
        values[100:, 180:] = 255
        return values


def test_annotate_sample_draws_stripes_on_ignored_pixels() -> None:
    sample = Sample(
        id="toy",
        image=ImageSource(gray_image()),
        boxes=np.array([[60, 40, 150, 90]], np.float32),
        labels=np.array([DOG]),
        difficult=np.zeros(1, bool),
        crowd=np.zeros(1, bool),
        annotated_box_classes=np.ones(20, bool),
        annotated_mask_classes=np.ones(20, bool),
        mask=VoidMask(),
    )
    annotated = annotate_sample(sample, VOC)
    striped = (annotated[110:150, 190:230] != 128).any(-1).mean()
    assert striped == pytest.approx(1 / 3, abs=0.05)
    assert (annotated[130:, :100] == 128).all()
    assert (annotated[40, 140] == class_color(DOG)).all()


def test_palette_png_keeps_values_and_has_vocs_palette() -> None:
    class_map = np.arange(256, dtype=np.uint8).reshape(16, 16)
    annotated = palette_png(class_map)
    assert annotated.mode == "P"
    assert np.array_equal(np.asarray(annotated), class_map)
    assert np.array_equal(np.asarray(annotated.convert("RGB")).reshape(256, 3), palette())
    assert annotated.convert("RGB").getpixel((15, 0)) == (192, 128, 128)  # person


def test_palette_png_refuses_other_dtypes() -> None:
    with pytest.raises(BlitzNetError, match="class map: expected uint8, got int64"):
        palette_png(np.zeros((4, 4), np.int64))


def test_class_colors_differ_and_are_not_dark() -> None:
    colors = np.array([class_color(label) for label in range(20)], float)
    distance = np.linalg.norm(colors[:, None] - colors[None], axis=-1)
    assert distance[~np.eye(20, dtype=bool)].min() > 40
    assert (colors @ [0.299, 0.587, 0.114]).min() > 100
    assert Image.new("RGB", (1, 1), class_color(79)).getpixel((0, 0)) == class_color(79)


def test_annotate_shows_track_ids() -> None:
    image = gray_image()
    plain = annotate(image, result())
    assert (annotate(image, result(), track_ids=[0]) == plain).all()
    assert (annotate(image, result(), track_ids=[3]) != plain).any()
