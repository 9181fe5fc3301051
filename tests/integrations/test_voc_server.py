"""The files of VOC's evaluation server: its own reader and this package's give the detections back."""

from io import BytesIO

import numpy as np
from PIL import Image as Pillow

from blitznet.core.classes import VOC
from blitznet.integrations.voc_server import to_voc_lines, to_voc_png, voc_file
from blitznet.postprocess.result import Result, Segmentation

RESULT = Result(
    boxes=np.array([[0, 0, 10, 20], [2.5, 3, 7, 8]], np.float32),
    scores=np.array([0.75, 0.25], np.float32),
    labels=np.array([7, 14]),
    size=(20, 10),
    class_names=VOC,
    segmentation=Segmentation.from_class_map(np.full((20, 10), 15, np.uint8)),
)


def test_boxes_count_pixels_from_one_and_include_the_last() -> None:
    assert to_voc_lines(RESULT, "2008_000001") == {
        "cat": ["2008_000001 0.750000 1.000000 1.000000 10.000000 20.000000"],
        "person": ["2008_000001 0.250000 3.500000 4.000000 7.000000 8.000000"],
    }


def test_class_map_is_an_indexed_png_with_the_palette_of_voc() -> None:
    content = to_voc_png(RESULT)
    assert content is not None
    with Pillow.open(BytesIO(content)) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image), np.full((20, 10), 15))
        assert image.convert("RGB").getpixel((0, 0)) == (192, 128, 128)
    assert to_voc_png(Result(RESULT.boxes, RESULT.scores, RESULT.labels, VOC, RESULT.size)) is None


def test_a_class_has_one_file_whatever_its_name() -> None:
    assert voc_file("aeroplane") == "results/VOC2012/Main/comp4_det_test_aeroplane.txt"
    assert voc_file("../../a/b\\c") == "results/VOC2012/Main/comp4_det_test_.._.._a_b_c.txt"
