"""The reader of VIA."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blitznet.core.errors import DataError
from blitznet.data.via import open_via
from support import exports, synthetic_data

RECT = {"name": "rect", "x": 10, "y": 20, "width": 30, "height": 40}


def write(root: Path, *regions: dict[str, Any], as_dict: bool = False) -> None:
    synthetic_data.write_image(root / "x.png", synthetic_data.draw(1)[0])
    items = dict(enumerate(regions)) if as_dict else list(regions)
    (root / "via.json").write_text(json.dumps({"x.png1": {"filename": "x.png", "size": 1, "regions": items}}))


def region(attributes: object = None, **shape: Any) -> dict[str, Any]:
    return {"shape_attributes": {**RECT, **shape}, "region_attributes": {} if attributes is None else attributes}


@pytest.mark.parametrize("as_dict", [False, True])
def test_rectangles_are_boxes(as_dict: bool, tmp_path: Path) -> None:
    write(tmp_path, region(), as_dict=as_dict)
    dataset = open_via(tmp_path, None, title="t")
    assert dataset[0].boxes.tolist() == [[10, 20, 40, 60]]
    assert dataset[0].mask is None
    assert dataset.class_names == ("object",)


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        ({"class": "cat"}, "cat"),
        ({"color": "red", "Label": "cat"}, "cat"),
        ({"animal": "cat"}, "cat"),
        ({"type": {"dog": False, "cat": True}}, "cat"),
        ({"type": ""}, "object"),
        ([], "object"),
    ],
)
def test_the_class_is_an_attribute(attributes: object, name: str, tmp_path: Path) -> None:
    write(tmp_path, region(attributes))
    assert open_via(tmp_path, None, title="t").class_names == (name,)


def test_circles_and_ellipses_are_outlines_and_points_are_left_out(tmp_path: Path) -> None:
    circle = region(name="circle", cx=50, cy=40, r=10)
    ellipse = region(name="ellipse", cx=50, cy=40, rx=20, ry=10, theta=0)
    write(tmp_path, circle, ellipse, region(name="point", cx=1, cy=1))
    boxes = open_via(tmp_path, None, title="t")[0].boxes
    np.testing.assert_allclose(boxes, [[40, 30, 60, 50], [30, 30, 70, 50]], atol=0.1)


def test_an_image_without_regions_is_not_annotated(tmp_path: Path) -> None:
    exports.write_via_json(tmp_path, synthetic_data.draw(3))
    assert open_via(tmp_path, None, title="t").unlabeled == {2}


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"x": "a"}, "region 1: expected numbers for x y width height"),
        ({"name": "cube"}, "region 1: expected a rect, polygon, circle, ellipse, point or polyline, got cube"),
        (
            {"name": "polygon", "all_points_x": [1, 2, 3], "all_points_y": [1, 2]},
            "expected three points or more, got 3 x",
        ),
        ({"name": "polygon", "all_points_x": 5}, "expected numbers for all_points_x"),
    ],
)
def test_broken_regions_are_errors_of_their_image(shape: dict[str, Any], message: str, tmp_path: Path) -> None:
    write(tmp_path, region({"class": "a"}, **shape))
    with pytest.raises(DataError, match=f"image x.png: .*{message}"):
        open_via(tmp_path, None, title="t")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("via.json", "{}", "expected annotated images, got none"),
        ("via.json", '{"a": {"filename": "x"}}', "expected images with filename and regions"),
        ("a.csv", "filename,x\na,b", "expected columns filename and region_shape_attributes"),
        ("a.csv", "filename,region_shape_attributes\na,{", "expected JSON in region_shape_attributes"),
    ],
)
def test_broken_files_are_refused(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        open_via(tmp_path / name, None, title="t")


def test_points_and_lines_are_counted(tmp_path: Path) -> None:
    write(tmp_path, region({"class": "a"}), region({"class": "b"}, name="point"))
    dataset = open_via(tmp_path, None, title="t")
    assert dataset.class_names == ("a",)
    assert dataset.remarks == {"points, lines and regions without a class, left out": ["x: b"]}
