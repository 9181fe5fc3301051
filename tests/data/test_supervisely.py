"""The reader of Supervisely projects."""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from blitznet.core.errors import DataError
from blitznet.data.supervisely import open_supervisely
from support import exports, synthetic_data

POLYGON = {"exterior": [[10, 10], [50, 10], [50, 50], [10, 50]], "interior": []}
OBJECT = {"classTitle": "cross", "geometryType": "polygon", "points": POLYGON}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    exports.write_supervisely(tmp_path, synthetic_data.draw(2))
    return tmp_path


def annotate(root: Path, *objects: dict[str, Any]) -> None:
    content = {"size": {"height": 96, "width": 120}, "objects": list(objects)}
    (root / "ds0" / "ann" / "toy_0000.png.json").write_text(json.dumps(content))


def test_corners_of_rectangles_are_pixels(root: Path) -> None:
    points = {"exterior": [[30, 40], [10, 20]], "interior": []}
    annotate(root, {**OBJECT, "geometryType": "rectangle", "points": points})
    assert open_supervisely(root, None, title="t")[0].boxes.tolist() == [[10, 20, 31, 41]]


def test_holes_are_background(root: Path) -> None:
    hole = [[20, 20], [40, 20], [40, 40], [20, 40]]
    annotate(root, {**OBJECT, "points": {**POLYGON, "interior": [hole]}})
    class_map = open_supervisely(root, None, title="t")[0].class_map()
    assert class_map is not None
    assert (class_map[15, 15], class_map[30, 30], class_map.sum()) == (1, 0, 40 * 40 - 20 * 20)


def test_an_image_without_a_file_is_not_annotated(root: Path) -> None:
    (root / "ds0" / "ann" / "toy_0001.png.json").unlink()
    dataset = open_supervisely(root, "ds0", title="t")
    assert dataset.unlabeled == {1}
    with pytest.raises(DataError, match="there is no split 'val'; splits here: ds0"):
        open_supervisely(root, "val", title="t")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"geometryType": "cube"}, "object 1: expected a rectangle, polygon, bitmap, point or line, got cube"),
        ({"geometryType": "rectangle"}, "object 1: expected two corners, got 8 numbers"),
        ({"points": {"exterior": [[1, 2]]}}, "object 1: expected three points"),
        ({"geometryType": "bitmap", "bitmap": {"origin": [0, 0], "data": "x"}}, "expected a bitmap as compressed PNG"),
        (
            {
                "geometryType": "bitmap",
                "bitmap": {"origin": [0, 0], "data": base64.b64encode(zlib.compress(b"x")).decode()},
            },
            "expected a PNG mask",
        ),
        ({"classTitle": "blob"}, "expected classes of the dataset .*, got blob"),
    ],
)
def test_broken_objects_are_errors_of_their_image(change: dict[str, Any], message: str, root: Path) -> None:
    annotate(root, {**OBJECT, **change})
    dataset = open_supervisely(root, None, title="t")
    assert list(dataset.errors) == [0]
    with pytest.raises(DataError, match=message):
        dataset[0]


def test_an_image_without_objects_is_assumed_to_be_empty_and_points_are_counted(root: Path) -> None:
    """Supervisely writes a file for every image."""
    annotate(root)
    assert open_supervisely(root, None, title="t").assumed_empty == {0}
    annotate(root, {**OBJECT, "geometryType": "point"})
    dataset = open_supervisely(root, None, title="t")
    assert not dataset.assumed_empty
    assert dataset[0].annotated_box_classes.tolist() == [False, True, True]
    assert dataset.remarks == {"points, lines and regions without a class, left out": ["ds0/toy_0000: cross"]}
