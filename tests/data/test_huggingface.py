"""The reader of Hugging Face datasets."""

import json
import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from blitznet.core.errors import DataError, UsageError
from blitznet.data.coco import open_coco
from blitznet.data.convert import convert_dataset
from blitznet.data.huggingface import open_huggingface, parse_objects
from blitznet.data.masks import UnknownValueError
from support import exports, synthetic_data


def write_masks(root: Path, values: int = 3) -> list[synthetic_data.Drawing]:
    drawings, rows = synthetic_data.draw(3), []
    for drawing in drawings:
        cells = []
        for pixels in (drawing.image, drawing.class_map):
            png = BytesIO()
            Image.fromarray(pixels).save(png, "PNG")
            cells.append({"bytes": png.getvalue(), "path": None})
        rows.append({"image": cells[0], "label": cells[1]})
    root.mkdir(exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), root / "train.parquet")
    (root / "classes.txt").write_text("\n".join(synthetic_data.NAMES[:values]))
    return drawings


def test_masks_of_a_column_are_class_maps(tmp_path: Path) -> None:
    drawings = write_masks(tmp_path)
    dataset = open_huggingface(tmp_path, None, title="t")
    for index, drawing in enumerate(drawings):
        np.testing.assert_array_equal(dataset[index].class_map(), drawing.class_map)
        assert not dataset[index].annotated_box_classes.any()


def test_unknown_mask_values_are_refused(tmp_path: Path) -> None:
    write_masks(tmp_path, 1)
    dataset = open_huggingface(tmp_path, None, title="t")
    with pytest.raises(UnknownValueError, match="expected mask values below 2, got"):
        [dataset[index].class_map() for index in range(3)]


def test_masks_need_class_names(tmp_path: Path) -> None:
    write_masks(tmp_path)
    (tmp_path / "classes.txt").unlink()
    with pytest.raises(DataError, match=r"expected classes\.txt with the names of the mask values"):
        open_huggingface(tmp_path, None, title="t")


def test_parquet_datasets_are_sent_to_workers(tmp_path: Path) -> None:
    drawings = synthetic_data.draw(5)
    exports.write_parquet(tmp_path, drawings)
    dataset = open_huggingface(tmp_path, "train", title="t")
    np.testing.assert_array_equal(dataset[2].image.read(), drawings[2].image)
    copy = pickle.loads(pickle.dumps(dataset))
    for index in (2, 0, 1):
        np.testing.assert_array_equal(copy[index].image.read(), drawings[index].image)


def test_splits(tmp_path: Path) -> None:
    exports.write_huggingface_folder(tmp_path, synthetic_data.draw(5))
    assert len(open_huggingface(tmp_path, "val", title="t")) == 2
    with pytest.raises(DataError, match="expected a split; splits here: train, validation"):
        open_huggingface(tmp_path, None, title="t")
    with pytest.raises(DataError, match="there is no split 'test'; splits here: train, validation"):
        open_huggingface(tmp_path, "test", title="t")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"bbox": [[1, 2, 3]], "categories": [0]}, "expected bbox as x y width height, got 3 numbers"),
        ({"bbox": [[1, 2, 3, 4]], "categories": []}, "expected a category for each box, got 0 for 1"),
        ({"bbox": [[1, 2, 3, None]], "categories": [0]}, "expected numbers for bbox"),
        ({"bbox": [[1, 2, 3, 4]], "categories": [2]}, "expected a category below 2, got 2"),
        ({"bbox": [[1, 2, 3, 4]], "categories": [None]}, "expected a category as name or number"),
        ({"x": 1}, "expected a list 'bbox', got a NoneType"),
        (5, "expected an object 'objects', got a int"),
    ],
)
def test_broken_objects_are_refused(value: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"row: {message}"):
        list(parse_objects(value, "row", ("a", "b")))


def test_objects_may_be_a_list(tmp_path: Path) -> None:
    synthetic_data.write_image(tmp_path / "x.png", synthetic_data.draw(1)[0])
    row = {"file_name": "x.png", "objects": [{"bbox": [1, 2, 3, 4], "category": "cat"}]}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row))
    dataset = open_huggingface(tmp_path, None, title="t")
    assert dataset.class_names == ("cat",)
    assert dataset[0].boxes.tolist() == [[1, 2, 4, 6]]


def test_broken_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="expected a Parquet file"):
        open_huggingface(tmp_path, None, title="t")
    (tmp_path / "train.parquet").unlink()
    (tmp_path / "metadata.jsonl").write_text("{")
    with pytest.raises(DataError, match=r"metadata\.jsonl:1: expected JSON"):
        open_huggingface(tmp_path, None, title="t")


def test_images_in_parquet_files_are_converted_to_files(tmp_path: Path) -> None:
    drawings = synthetic_data.draw(5)
    exports.write_parquet(tmp_path / "set", drawings)
    dataset = open_huggingface(tmp_path / "set", "train", title="t")
    convert_dataset(dataset, "coco", tmp_path / "out", "train")
    converted = open_coco(tmp_path / "out", "train", title="t")
    for index in range(3):
        np.testing.assert_array_equal(converted[index].image.read(), drawings[index].image)
        np.testing.assert_array_equal(converted[index].boxes, drawings[index].boxes)
    with pytest.raises(UsageError, match="leave --link out"):
        convert_dataset(dataset, "coco", tmp_path / "linked", "train", link=True)
