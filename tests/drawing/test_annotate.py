import numpy as np
import pytest
from PIL import Image

from blitznet.core.arrays import ClassMap, RGBArray
from blitznet.core.classes import VOC, palette
from blitznet.core.errors import BlitzNetError
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample
from blitznet.drawing.annotate import (
    GRAY,
    BoxMark,
    annotate,
    annotate_sample,
    class_color,
    draw,
    palette_png,
    truth_marks,
)
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
    assert thickness(6) == 6


def test_labels_do_not_overlap() -> None:
    marks = [
        BoxMark((50.0, 60.0, 150.0, 120.0), "dog 0.9", (255, 0, 0)),
        BoxMark((52.0, 61.0, 150.0, 120.0), "cat 0.5", (0, 255, 0)),
    ]
    annotated = draw(gray_image(), marks)
    red, green = ((annotated == mark.color).all(-1).sum() for mark in marks)
    assert red > 400
    assert green > 400


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
