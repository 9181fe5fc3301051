from io import BytesIO

import numpy as np
from PIL import Image

from blitznet.core.image import ImageSource
from blitznet.core.rle import decode_rle
from blitznet.drawing.annotate import annotate
from blitznet.postprocess.result import Result, Segmentation
from blitznet.serve.request import PredictRequest
from blitznet.serve.response import render_class_map, render_overlay, render_response, to_payload

CLASS_MAP = np.pad(np.full((8, 8), 3, np.uint8), ((3, 9), (2, 20)))
RESULT = Result(
    boxes=np.array([[1, 2, 11, 12], [5, 5, 15, 19]], np.float32),
    scores=np.array([0.9, 0.4], np.float32),
    labels=np.array([2, 0]),
    class_names=("cat", "dog", "person"),
    size=(20, 30),
    segmentation=Segmentation.from_class_map(CLASS_MAP),
)
IMAGE = ImageSource(np.full((20, 30, 3), 90, np.uint8))


def test_payload_without_maps() -> None:
    payload = to_payload(RESULT, class_map=False, panoptic=False)
    assert payload == {**RESULT.to_dict(), "class_names": ["cat", "dog", "person"]}
    assert payload["detections"][0]["class_id"] == 2
    assert payload["detections"][0]["class_name"] == "person"


def test_payload_with_class_map_and_panoptic() -> None:
    payload = to_payload(RESULT, class_map=True, panoptic=True)
    np.testing.assert_array_equal(decode_rle(payload["class_map"]), CLASS_MAP)
    panoptic = RESULT.panoptic()
    np.testing.assert_array_equal(decode_rle(payload["panoptic"]["segmentation"]), panoptic.segmentation)
    assert [segment["id"] for segment in payload["panoptic"]["segments_info"]] == [
        segment.id for segment in panoptic.segments_info
    ]
    for segment in payload["panoptic"]["segments_info"]:
        assert segment["class_name"] == RESULT.class_names[segment["class_id"]]


def test_overlay_is_the_annotated_image() -> None:
    overlay = Image.open(BytesIO(render_overlay(IMAGE, RESULT, "image/png")))
    expected = annotate(IMAGE.read(), RESULT)
    np.testing.assert_array_equal(np.asarray(overlay), expected)
    compressed = Image.open(BytesIO(render_overlay(IMAGE, RESULT)))
    assert compressed.format == "JPEG"
    luma = np.asarray(compressed.convert("L")).astype(int)  # JPEG halves the resolution of colors
    assert np.abs(luma - np.asarray(overlay.convert("L"))).mean() < 4


def test_class_map_is_a_palette_png() -> None:
    image = Image.open(BytesIO(render_class_map(RESULT)))
    assert image.mode == "P"
    np.testing.assert_array_equal(np.asarray(image), CLASS_MAP)


def test_the_format_selects_the_renderer() -> None:
    for name, expected in (("overlay", render_overlay(IMAGE, RESULT)), ("class_map", render_class_map(RESULT))):
        request = PredictRequest(name, 0.5, class_map=False, panoptic=False)  # type: ignore[arg-type]
        assert render_response(request, IMAGE, RESULT) == expected
    request = PredictRequest("json", 0.5, class_map=True, panoptic=False)
    assert b'"class_map": {"size": [20, 30], "order": "row-major"' in render_response(request, IMAGE, RESULT)
