"""The labelme reader."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blitznet.core.errors import DataError
from blitznet.core.sample import ANY_CLASS
from blitznet.data.labelme import open_labelme
from blitznet.data.partition import subset
from support import exports, synthetic_data

TRIANGLE = [[10, 10], [30, 10], [10, 40]]
SHAPE: dict[str, Any] = {"label": "a", "points": TRIANGLE, "shape_type": "polygon", "group_id": None}


def write(root: Path, *shapes: dict[str, Any], **changes: Any) -> None:
    drawing = synthetic_data.draw(1)[0]
    synthetic_data.write_image(root / "x.png", drawing)
    content = {"shapes": list(shapes), "imagePath": "x.png", "imageHeight": 96, "imageWidth": 120}
    (root / "x.json").write_text(json.dumps(content | changes))


def test_rectangles_are_boxes_and_circles_are_outlines(tmp_path: Path) -> None:
    rectangle = {**SHAPE, "shape_type": "rectangle", "points": [[30, 40], [10, 20]]}
    circle = {**SHAPE, "label": "b", "shape_type": "circle", "points": [[60, 50], [70, 50]]}
    point = {**SHAPE, "shape_type": "point", "points": [[1, 1]]}
    write(tmp_path, rectangle, circle, point)
    sample = open_labelme(tmp_path, None, title="t")[0]
    np.testing.assert_allclose(sample.boxes, [[10, 20, 30, 40], [50, 40, 70, 60]], atol=0.1)
    class_map = sample.class_map()
    assert class_map is not None
    assert (class_map == 2).sum() == pytest.approx(np.pi * 100, rel=0.05)
    assert class_map[30, 20] == 255  # only the box of the rectangle is known


def test_shapes_of_one_group_are_one_object(tmp_path: Path) -> None:
    moved = [[x + 50, y] for x, y in TRIANGLE]
    write(tmp_path, {**SHAPE, "group_id": 1}, {**SHAPE, "group_id": 1, "points": moved}, SHAPE)
    sample = open_labelme(tmp_path, None, title="t")[0]
    assert sample.boxes.tolist() == [[10, 10, 80, 40], [10, 10, 30, 40]]


def test_ignored_and_background_labels_are_no_classes(tmp_path: Path) -> None:
    write(tmp_path, SHAPE, {**SHAPE, "label": "__ignore__"}, {**SHAPE, "label": "_background_"})
    dataset = open_labelme(tmp_path, None, title="t")
    assert dataset.class_names == ("a",)
    assert dataset[0].labels.tolist() == [0, ANY_CLASS]
    assert dataset[0].crowd.tolist() == [False, True]


def test_labels_txt_gives_the_order_of_classes(tmp_path: Path) -> None:
    write(tmp_path, SHAPE)
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\nz\na\n")
    assert open_labelme(tmp_path, None, title="t").class_names == ("z", "a")


def test_an_image_without_a_json_file_is_not_annotated(tmp_path: Path) -> None:
    write(tmp_path, SHAPE)
    synthetic_data.write_image(tmp_path / "y.png", synthetic_data.draw(1)[0])
    dataset = open_labelme(tmp_path, None, title="t")
    assert dataset.ids == ("x", "y")
    assert dataset.unlabeled == {1}
    assert not dataset[1].annotated_box_classes.any()


def test_all_splits_have_the_same_classes(tmp_path: Path) -> None:
    write(tmp_path / "train", SHAPE, {**SHAPE, "label": "b"})
    write(tmp_path / "val", {**SHAPE, "label": "c"})
    for split in ("train", "valid"):
        assert open_labelme(tmp_path, split, title="t").class_names == ("a", "b", "c")
    with pytest.raises(DataError, match="there is no split 'test'; splits here: train, val"):
        open_labelme(tmp_path, "test", title="t")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": ""}, "shape 1: expected a label, got none"),
        ({"points": [[1, 2], [3], [4, 5]]}, "shape 1: expected three points x y or more"),
        ({"points": [[1, 2], [3, "x"], [4, 5]]}, "shape 1: expected numbers for points"),
        ({"points": [[1, 2], [3, 1e9], [4, 5]]}, "shape 1: expected pixel coordinates"),
        ({"points": 5}, "shape 1: expected a list 'points', got a int"),
        ({"shape_type": "cube"}, "shape 1: expected a polygon, rectangle, circle, mask, point or line, got cube"),
        ({"shape_type": "rectangle"}, "shape 1: expected two points of a rectangle, got 3"),
        ({"shape_type": "mask", "mask": "!"}, "shape 1: expected a mask as PNG in base64"),
        ({"shape_type": "mask", "mask": "AAAA"}, "shape 1: expected a PNG mask"),
    ],
)
def test_broken_shapes_are_errors_of_their_image(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    exports.write_labelme(tmp_path, synthetic_data.draw(2))
    write(tmp_path, {**SHAPE, **change})
    dataset = open_labelme(tmp_path, None, title="t")
    assert list(dataset.errors) == [2]
    with pytest.raises(DataError, match=r"x\.json: " + message):
        dataset[2]


@pytest.mark.parametrize(
    "text", ["{", "[" * 100_000, '{"shapes": 1, "imageHeight": 1, "imageWidth": 1}', '{"shapes": []}']
)
def test_broken_files_are_errors_of_their_image(text: str, tmp_path: Path) -> None:
    exports.write_labelme(tmp_path, synthetic_data.draw(2))
    (tmp_path / "toy_0001.json").write_text(text)
    dataset = open_labelme(tmp_path, None, title="t")
    assert list(dataset.errors) == [1]
    assert "toy_0001.json" in str(dataset.errors[1])


def test_an_image_that_does_not_exist_is_read_from_its_file(tmp_path: Path) -> None:
    drawings = synthetic_data.draw(3)
    exports.write_labelme_embedded(tmp_path, drawings)
    dataset = open_labelme(tmp_path, None, title="t")
    assert not dataset.unlabeled
    for index, drawing in enumerate(drawings):
        np.testing.assert_array_equal(dataset[index].image.read(), drawing.image)
        assert len(dataset[index].boxes) == len(drawing.boxes)


def test_a_broken_image_inside_a_file_is_named(tmp_path: Path) -> None:
    exports.write_labelme_embedded(tmp_path, synthetic_data.draw(1))
    path = tmp_path / "toy_0000.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"imageData": "x"}))
    dataset = open_labelme(tmp_path, None, title="t")
    with pytest.raises(DataError, match=r"toy_0000\.json: expected imageData as an image in base64"):
        dataset[0]


def test_points_and_lines_are_counted_and_their_class_is_not_complete(tmp_path: Path) -> None:
    """A point without a box is an object: nothing in its image is known not to be of its class."""
    point = {**SHAPE, "shape_type": "point", "points": [[1, 1]], "group_id": 1}
    line = {**SHAPE, "label": "rail", "shape_type": "linestrip", "points": [[1, 1], [5, 5]]}
    write(tmp_path, {**SHAPE, "label": "b", "group_id": 1}, {**SHAPE, "label": "b", "group_id": 1}, point, line)
    synthetic_data.write_image(tmp_path / "y.png", synthetic_data.draw(1)[0])
    content = json.loads((tmp_path / "x.json").read_text()) | {"shapes": [SHAPE, point], "imagePath": "y.png"}
    (tmp_path / "y.json").write_text(json.dumps(content))
    dataset = open_labelme(tmp_path, None, title="t")
    assert dataset.class_names == ("a", "b")
    assert dataset[0].labels.tolist() == [1]  # the group is one object
    assert dataset[0].annotated_box_classes.tolist() == dataset[0].annotated_mask_classes.tolist() == [False, True]
    assert dataset[1].annotated_box_classes.tolist() == [True, True]  # the point is a part of the object with a box
    assert dataset.remarks == {"points, lines and regions without a class, left out": ["x: a", "x: rail", "y: a"]}
    part = subset(dataset, [1, 0])
    assert part[1].annotated_box_classes.tolist() == [False, True]
    assert part.incomplete == {1: (0,)}


def test_endings_may_be_in_upper_case(tmp_path: Path) -> None:
    write(tmp_path, SHAPE)
    (tmp_path / "x.json").rename(tmp_path / "x.JSON")
    dataset = open_labelme(tmp_path, None, title="t")
    assert len(dataset) == 1
    assert not dataset.unlabeled


def test_a_missing_image_is_not_the_one_of_another_file(tmp_path: Path) -> None:
    write(tmp_path, SHAPE)
    (tmp_path / "b").mkdir()
    (tmp_path / "x.json").rename(tmp_path / "b" / "x.json")
    (tmp_path / "a").mkdir()
    (tmp_path / "x.png").rename(tmp_path / "a" / "x.png")
    assert open_labelme(tmp_path, None, title="t").image_paths == (str(tmp_path / "a" / "x.png"),)
    (tmp_path / "a" / "x.json").write_text((tmp_path / "b" / "x.json").read_text())
    dataset = open_labelme(tmp_path, None, title="t")
    assert dataset.image_paths == (str(tmp_path / "a" / "x.png"), str(tmp_path / "b" / "x.jpg"))
