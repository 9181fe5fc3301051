"""Brush masks of Label Studio as PNG."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blitznet.core.errors import DataError
from blitznet.data.labelstudio import open_labelstudio
from blitznet.data.labelstudio_brushes import find_brush_files
from support import exports, synthetic_data


def write_mask(path: Path, *, shape: tuple[int, ...] = (96, 120)) -> None:
    values = np.zeros(shape, np.uint8)
    values[10:20, 30:50] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def write_task(root: Path, **fields: object) -> None:
    synthetic_data.write_image(root / "images" / "x.png", synthetic_data.draw(1)[0])
    (root / "export.json").write_text(json.dumps([{"id": 7, "image": "/data/upload/1/0a-x.png", **fields}]))


def test_masks_of_the_first_annotation_are_the_objects_of_their_task(tmp_path: Path) -> None:
    write_task(tmp_path)
    write_mask(tmp_path / "task-7-annotation-3-by-a@b.c-tag-traffic light-0.png")
    write_mask(tmp_path / "task-7-annotation-3-by-a@b.c-tag-stop-sign-1.png")
    write_mask(tmp_path / "task-7-annotation-12-by-2-tag-other-0.png")
    write_mask(tmp_path / "task-70-annotation-1-by-2-tag-other-0.png")
    dataset = open_labelstudio(tmp_path, None, title="t")
    assert dataset.class_names == ("stop-sign", "traffic light")
    assert dataset[0].labels.tolist() == [1, 0]
    assert dataset[0].boxes.tolist() == [[30, 10, 50, 20]] * 2
    assert dataset[0].mask is not None
    assert not dataset.unlabeled


def test_a_task_without_masks_is_not_annotated(tmp_path: Path) -> None:
    exports.write_label_studio_brushes(tmp_path, synthetic_data.draw(3))  # the last one is empty
    assert open_labelstudio(tmp_path, None, title="t").unlabeled == {2}


def test_regions_in_the_json_file_are_used_before_masks(tmp_path: Path) -> None:
    value = {"x": 0, "y": 0, "width": 50, "height": 50, "rectanglelabels": ["a"]}
    result = {"type": "rectanglelabels", "value": value, "original_width": 120, "original_height": 96}
    write_task(tmp_path, data={"image": "x.png"}, annotations=[{"result": [result]}])
    write_mask(tmp_path / "task-7-annotation-3-by-1-tag-b-0.png")
    dataset = open_labelstudio(tmp_path, None, title="t")
    assert dataset.class_names == ("a",)
    assert dataset[0].boxes.tolist() == [[0, 0, 60, 48]]


def test_masks_without_tasks_are_refused_with_advice(tmp_path: Path) -> None:
    write_mask(tmp_path / "task-7-annotation-3-by-1-tag-b-0.png")
    with pytest.raises(DataError, match="brush masks as PNG need the JSON export beside them"):
        open_labelstudio(tmp_path, None, title="t")


@pytest.mark.parametrize(
    ("shape", "message"), [((96, 120, 3), "expected a mask of gray values"), ((90, 120), "expected masks of one size")]
)
def test_broken_masks_are_errors_of_their_image(shape: tuple[int, ...], message: str, tmp_path: Path) -> None:
    exports.write_label_studio_brushes(tmp_path, synthetic_data.draw(2))
    write_mask(tmp_path / "task-1-annotation-41-by-1-tag-b-8.png")
    write_mask(tmp_path / "task-1-annotation-41-by-1-tag-b-9.png", shape=shape)
    dataset = open_labelstudio(tmp_path, None, title="t")
    assert list(dataset.errors) == [0]
    assert message in str(dataset.errors[0])


def test_other_names_are_no_masks(tmp_path: Path) -> None:
    write_mask(tmp_path / "task-7.png")
    write_mask(tmp_path / "task-x-annotation-3-by-1-tag-b-0.png")
    assert find_brush_files(tmp_path) == {}
