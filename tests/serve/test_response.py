from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from blitznet.core.image import ImageSource
from blitznet.drawing.annotate import annotate
from blitznet.postprocess.result import Result, Segmentation
from blitznet.serve.response import render_class_map, render_overlay, run_length_encode, to_payload

MAP = np.pad(np.full((8, 8), 3, np.uint8), ((3, 9), (2, 20)))
RESULT = Result(
    boxes=np.array([[1, 2, 11, 12], [5, 5, 15, 19]], np.float32),
    scores=np.array([0.9, 0.4], np.float32),
    labels=np.array([2, 0]),
    class_names=("cat", "dog", "person"),
    size=(20, 30),
    segmentation=Segmentation.from_class_map(MAP),
)
IMAGE = ImageSource(np.full((20, 30, 3), 90, np.uint8))


def unrolled(values: list[int], size: tuple[int, int]) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    return np.repeat(values[::2], values[1::2]).reshape(size)


@pytest.mark.parametrize("values", [MAP, np.full((2, 3), 255), np.arange(12).reshape(3, 4), np.zeros((1, 1))])
def test_runs_say_all(values: "np.ndarray[tuple[int, int], np.dtype[np.int64]]") -> None:
    told = run_length_encode(values)
    np.testing.assert_array_equal(unrolled(told, values.shape), values)
    assert all(a != b for a, b in zip(told[::2], told[2::2], strict=False))


def test_json_has_what_was_asked_for() -> None:
    plain = to_payload(RESULT, pixels=False, instances=False)
    assert plain == {**RESULT.to_dict(), "names": ["cat", "dog", "person"]}
    whole = to_payload(RESULT, pixels=True, instances=True)
    np.testing.assert_array_equal(unrolled(whole["class_map"], RESULT.size), MAP)
    panoptic = RESULT.panoptic()
    np.testing.assert_array_equal(unrolled(whole["panoptic"]["runs"], RESULT.size), panoptic.segmentation)
    assert [segment["label"] for segment in whole["panoptic"]["segments"]] == [
        RESULT.class_names[segment.label] for segment in panoptic.segments_info
    ]


def test_pictures() -> None:
    np.testing.assert_array_equal(
        np.asarray(Image.open(BytesIO(render_overlay(IMAGE, RESULT)))), annotate(IMAGE.read(), RESULT)
    )
    picture = Image.open(BytesIO(render_class_map(IMAGE, RESULT)))
    assert picture.mode == "P"
    np.testing.assert_array_equal(np.asarray(picture), MAP)
