"""The reader of Label Studio's tasks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blitznet.core.errors import DataError
from blitznet.data.detect import detect_layout
from blitznet.data.labelstudio import decode_brush, open_labelstudio
from support import synthetic_data
from support.exports import pack_brush

SIZE = {"original_width": 120, "original_height": 96}
BOX = {"x": 10, "y": 25, "width": 20, "height": 50, "rotation": 0, "rectanglelabels": ["a"]}
RESULT = {"type": "rectanglelabels", "value": BOX, **SIZE}


def write(root: Path, *tasks: list[dict[str, Any]] | None) -> None:
    synthetic_data.write_image(root / "images" / "x.png", synthetic_data.draw(1)[0])
    content = [
        {"id": k, "data": {"image": "/data/upload/1/x.png"}, "annotations": [] if t is None else [{"result": t}]}
        for k, t in enumerate(tasks)
    ]
    (root / "export.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("degrees", "expected"), [(0, [12, 24, 36, 72]), (90, [-36, 24, 12, 48]), (180, [-12, -24, 12, 24])]
)
def test_boxes_are_percent_and_turn_around_their_corner(degrees: int, expected: list[float], tmp_path: Path) -> None:
    write(tmp_path, [{**RESULT, "value": {**BOX, "rotation": degrees}}])
    np.testing.assert_allclose(open_labelstudio(tmp_path, None, title="t")[0].boxes, [expected], atol=1e-4)


def test_ellipses_have_radii_in_percent(tmp_path: Path) -> None:
    value = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 25, "ellipselabels": ["a"]}
    write(tmp_path, [{"type": "ellipselabels", "value": value, **SIZE}])
    np.testing.assert_allclose(open_labelstudio(tmp_path, None, title="t")[0].boxes, [[48, 24, 72, 72]], atol=0.1)


def test_a_task_without_annotations_is_not_annotated(tmp_path: Path) -> None:
    write(tmp_path, [RESULT], None, [])
    dataset = open_labelstudio(tmp_path, None, title="t")
    assert dataset.unlabeled == {1}
    assert [bool(dataset[k].annotated_box_classes.any()) for k in range(3)] == [True, False, True]


def test_brush_masks_of_single_values_and_runs_are_decoded() -> None:
    values = np.zeros((3, 4, 4), np.uint8)
    values[1, 2:] = 255
    np.testing.assert_array_equal(decode_brush(pack_brush(values.ravel()), (3, 4), "x"), values[..., 3] > 0)
    bits = f"{16:032b}{7:05b}" + "0011" * 4 + "0" + "00" + "1111" + "11111111" * 16  # sixteen single values
    packed = [int(bits.ljust(-(-len(bits) // 8) * 8, "0")[k : k + 8], 2) for k in range(0, len(bits), 8)]
    assert decode_brush(packed, (2, 2), "x").all()


@pytest.mark.parametrize(
    "change", [{"rle": [0] * 4}, {"rle": []}, {"rle": [300]}, {"rle": "x"}, {"rle": pack_brush(np.zeros(16, np.uint8))}]
)
def test_broken_brush_masks_are_errors_of_their_task(change: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path, [{"type": "brushlabels", "value": {"brushlabels": ["a"], **change}, **SIZE}], [RESULT])
    assert list(open_labelstudio(tmp_path, None, title="t").errors) == [0]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({**RESULT, "value": {**BOX, "x": None}}, "result 1: expected numbers for x y width height"),
        ({**RESULT, "original_width": 0}, "result 1: expected width and height as positive integers"),
        ({**RESULT, "value": []}, "result 1: expected an object 'value', got a list"),
        (
            {"type": "polygonlabels", "value": {"polygonlabels": ["a"], "points": [[1, 2]]}, **SIZE},
            "expected three points",
        ),
    ],
)
def test_broken_results_are_errors_of_their_task(result: dict[str, Any], message: str, tmp_path: Path) -> None:
    write(tmp_path, [RESULT], [result])
    dataset = open_labelstudio(tmp_path, None, title="t")
    with pytest.raises(DataError, match=f"task 1: .*{message}"):
        dataset[1]


def test_splits_are_refused(tmp_path: Path) -> None:
    write(tmp_path, [RESULT])
    with pytest.raises(DataError, match="there is no split 'train'; a list of tasks has none"):
        open_labelstudio(tmp_path, "train", title="t")


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("rectangle", {key: BOX[key] for key in ("x", "y", "width", "height", "rotation")}),
        ("polygon", {"points": [[10, 25], [30, 25], [30, 75], [10, 75]]}),
    ],
)
def test_classes_may_be_results_of_their_own(kind: str, shape: dict[str, Any], tmp_path: Path) -> None:
    """The controls Labels and Rectangle write two results of one id."""
    results = [
        {"id": "r1", "type": kind, "value": shape, **SIZE},
        {"id": "r1", "type": "labels", "value": {**shape, "labels": ["a"]}, **SIZE},
        {"id": "r2", "type": kind, "value": shape, **SIZE},
        {"id": "r3", "type": "keypointlabels", "value": {"x": 1, "y": 1, "keypointlabels": ["a"]}, **SIZE},
    ]
    write(tmp_path, results)
    dataset = open_labelstudio(tmp_path, None, title="t")
    assert dataset.class_names == ("a",)
    np.testing.assert_allclose(dataset[0].boxes, [[12, 24, 36, 72]], atol=1e-4)
    assert dataset.remarks == {
        "points, lines and regions without a class, left out": ["x: a region without a class", "x: keypointlabels"]
    }


def test_json_min_has_a_row_for_each_annotation(tmp_path: Path) -> None:
    write(tmp_path)
    row = {"id": 1, "annotator": 1, "annotation_id": 1, "image": "/data/upload/1/x.png", "label": [{**BOX, **SIZE}]}
    rows = [row, {**row, "annotation_id": 2, "label": []}, {"id": 2, "image": "y.png"}]
    (tmp_path / "export.json").write_text(json.dumps(rows))
    assert detect_layout(tmp_path).format == "labelstudio"
    dataset = open_labelstudio(tmp_path, None, title="t")
    assert dataset.ids == ("x", "y")
    np.testing.assert_allclose(dataset[0].boxes, [[12, 24, 36, 72]], atol=1e-4)
    assert dataset.unlabeled == {1}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("/data/local-files/?d=images/my%20x.png",), ("my x.png",)),
        (("https://x.org/my%20x.png?key=1",), ("my x.png",)),
        (("/data/upload/1/0a1b2c3d-x.png",), ("x.png",)),
        (("0a1b2c3d-x.png", "99999999-x.png"), ("0a1b2c3d-x.png", "99999999-x.png")),
        (("0a1b2c3d-x.png", "x.png"), ("0a1b2c3d-x.png", "x.png")),
    ],
)
def test_images_are_found_by_links_and_names_of_uploads(
    names: tuple[str, ...], expected: tuple[str, ...], tmp_path: Path
) -> None:
    """Two uploads of one name are two images, of which an export without prefixes has one."""
    write(tmp_path)
    synthetic_data.write_image(tmp_path / "images" / "my x.png", synthetic_data.draw(1)[0])
    tasks = [{"id": k, "data": {"image": name}, "annotations": [{"result": [RESULT]}]} for k, name in enumerate(names)]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    dataset = open_labelstudio(tmp_path, None, title="t")
    assert tuple(Path(path).name for path in dataset.image_paths) == expected
