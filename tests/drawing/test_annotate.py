import numpy as np
import pytest
from PIL import Image as Pillow

from blitznet.core.arrays import ClassMap, RGBArray
from blitznet.core.classes import VOC, palette
from blitznet.core.errors import BlitzNetError
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample
from blitznet.drawing.annotate import (
    GREY,
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


def plain(value: int = 128, size: tuple[int, int] = SIZE) -> RGBArray:
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
    image = plain()
    picture = annotate(image, result(class_map=class_map))
    colour = np.array(class_color(DOG))
    assert picture.shape == image.shape
    assert picture.dtype == np.uint8
    assert (image == 128).all()
    assert (picture[40, 170] == colour).all()  # the frame
    assert (picture[129, 170] == colour).all()
    assert (picture[60, 120] == colour).all()  # the contour
    assert picture[85, 120] == pytest.approx(128 + (colour - 128) * 0.45, abs=1)  # the tint
    assert (picture[140, 20] == 128).all()  # background


@pytest.mark.parametrize("value", [0, 255])
def test_a_frame_is_seen_on_dark_and_on_light(value: int) -> None:
    picture = annotate(plain(value), result()).astype(int)
    across = picture[85, 55:70].sum(-1)
    assert np.ptp(across) > 250


@pytest.mark.parametrize("size", [(1, 1), (20, 16), (97, 640), (1200, 900)])
def test_any_size_of_picture(size: tuple[int, int]) -> None:
    boxes = np.array([[0, 0, size[1], size[0]]], np.float32)
    seen = Result(boxes, np.ones(1, np.float32), np.array([3]), VOC, size, Segmentation.from_class_map(np.full(size, 4, np.uint8)))
    assert annotate(plain(90, size), seen).shape == (*size, 3)


def test_lines_grow_with_the_picture() -> None:
    def thickness(scale: int) -> int:
        size = (160 * scale, 240 * scale)
        mark = BoxMark((60.0 * scale, 40.0 * scale, 180.0 * scale, 130.0 * scale), "", class_color(DOG))
        picture = draw(plain(size=size), [mark])
        return int((picture[85 * scale, : 100 * scale] == class_color(DOG)).all(-1).sum())

    assert thickness(1) == 2
    assert thickness(6) == 6


def test_labels_avoid_each_other() -> None:
    marks = [
        BoxMark((50.0, 60.0, 150.0, 120.0), "dog 0.9", (255, 0, 0)),
        BoxMark((52.0, 61.0, 150.0, 120.0), "cat 0.5", (0, 255, 0)),
    ]
    picture = draw(plain(), marks)
    red, green = ((picture == mark.colour).all(-1).sum() for mark in marks)
    assert red > 400
    assert green > 400


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(BlitzNetError, match=r"image: expected shape \(160, 240, 3\), got \(10, 20, 3\)"):
        annotate(plain(size=(10, 20)), result())


def test_truth_says_crowd_and_difficult() -> None:
    boxes = np.array([[0, 0, 50, 50], [60, 0, 100, 50], [0, 60, 50, 100]], np.float32)
    flags = np.array([False, True, False])
    marks = truth_marks(boxes, np.array([DOG, 0, 0]), flags, VOC, difficult=np.array([False, False, True]))
    assert [mark.text for mark in marks] == ["dog", "crowd", "aeroplane (difficult)"]
    assert [mark.dashed for mark in marks] == [False, True, False]
    assert marks[1].colour == GREY
    assert marks[1].box == (60, 0, 100, 50)


def test_a_dashed_frame_has_gaps() -> None:
    solid = draw(plain(), [BoxMark((20.0, 40.0, 220.0, 150.0), "", (255, 0, 0))])
    dashed = draw(plain(), [BoxMark((20.0, 40.0, 220.0, 150.0), "", (255, 0, 0), dashed=True)])
    count = [int((picture[149] == (255, 0, 0)).all(-1).sum()) for picture in (solid, dashed)]
    assert 0.3 * count[0] < count[1] < 0.7 * count[0]


class _Void:
    def read(self) -> ClassMap:
        values = np.zeros(SIZE, np.uint8)
        values[100:, 180:] = 255
        return values


def test_annotate_sample_hatches_void() -> None:
    sample = Sample(
        id="toy",
        image=ImageSource(plain()),
        boxes=np.array([[60, 40, 150, 90]], np.float32),
        labels=np.array([DOG]),
        difficult=np.zeros(1, bool),
        crowd=np.zeros(1, bool),
        annotated_box_classes=np.ones(20, bool),
        annotated_mask_classes=np.ones(20, bool),
        mask=_Void(),
    )
    picture = annotate_sample(sample, VOC)
    striped = (picture[110:150, 190:230] != 128).any(-1).mean()
    assert striped == pytest.approx(1 / 3, abs=0.05)
    assert (picture[130:, :100] == 128).all()
    assert (picture[40, 140] == class_color(DOG)).all()


def test_palette_png_keeps_values_and_has_vocs_colours() -> None:
    class_map = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = palette_png(class_map)
    assert picture.mode == "P"
    assert np.array_equal(np.asarray(picture), class_map)
    assert np.array_equal(np.asarray(picture.convert("RGB")).reshape(256, 3), palette())
    assert picture.convert("RGB").getpixel((15, 0)) == (192, 128, 128)  # person


def test_palette_png_refuses_other_values() -> None:
    with pytest.raises(BlitzNetError, match="class map: expected uint8, got int64"):
        palette_png(np.zeros((4, 4), np.int64))


def test_class_colours_differ_and_are_never_dark() -> None:
    colours = np.array([class_color(label) for label in range(20)], float)
    distance = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    assert distance[~np.eye(20, dtype=bool)].min() > 40
    assert (colours @ [0.299, 0.587, 0.114]).min() > 100
    assert Pillow.new("RGB", (1, 1), class_color(79)).getpixel((0, 0)) == class_color(79)
