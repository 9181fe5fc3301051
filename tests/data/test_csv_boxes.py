"""The reader of CSV files with a box in each row."""

from pathlib import Path

import pytest

from blitznet.core.errors import DataError
from blitznet.data.csv_boxes import csv_splits, is_box_csv, open_csv
from blitznet.data.detect import detect_layout
from support import synthetic_data

MAKESENSE = "cat,10,20,30,20,x.png,80,64"
MAKESENSE_NAMES = "label_name,bbox_x,bbox_y,bbox_width,bbox_height,image_name,image_width,image_height"
TENSORFLOW = "filename,width,height,class,xmin,ymin,xmax,ymax\nx.png,80,64,cat,10,20,40,40"


def write(root: Path, text: str, file_name: str = "labels.csv", image: str = "x.png") -> None:
    synthetic_data.write_image(root / image, synthetic_data.draw(1, size=(64, 80))[0])
    (root / file_name).parent.mkdir(parents=True, exist_ok=True)
    (root / file_name).write_text(f"{text}\n")


@pytest.mark.parametrize(
    "text",
    [
        MAKESENSE,
        f"{MAKESENSE_NAMES}\n{MAKESENSE}",
        TENSORFLOW,
        "images/x.png,10,20,40,40,cat",
        "image,x1,y1,x2,y2,label\nx.png,10,20,40,40,cat",
        TENSORFLOW.replace(",", ";"),
        TENSORFLOW.replace(",", "\t"),
        "﻿" + MAKESENSE_NAMES + "\r\n" + MAKESENSE + "\r\n\r\n",
    ],
)
def test_columns_are_recognized(text: str, tmp_path: Path) -> None:
    write(tmp_path, text)
    layout = detect_layout(tmp_path)
    assert (layout.format, layout.name, layout.splits) == ("csv", "CSV of boxes", ())
    dataset = open_csv(tmp_path, None, title="t")
    assert dataset.class_names == ("cat",)
    assert dataset[0].boxes.tolist() == [[10, 20, 40, 40]]
    assert dataset[0].mask is None


@pytest.mark.parametrize(
    "text", ["a,b\n1,2", "image,label\nx.png,cat", "x.png,a,b,c,d,cat", "", "via,1,2,3,4,5,6,7", "\x00" * 5000]
)
def test_other_files_are_not_recognized(text: str, tmp_path: Path) -> None:
    write(tmp_path, text)
    assert not is_box_csv(tmp_path / "labels.csv")
    with pytest.raises(DataError, match="expected a CSV file with a box in each row"):
        open_csv(tmp_path, None, title="t")


def test_an_image_without_a_row_is_not_annotated(tmp_path: Path) -> None:
    write(tmp_path, MAKESENSE)
    synthetic_data.write_image(tmp_path / "y.png", synthetic_data.draw(1)[0])
    dataset = open_csv(tmp_path, None, title="t")
    assert dataset.ids == ("x", "y")
    assert dataset.unlabeled == {1}


def test_an_image_whose_row_has_no_box_is_empty(tmp_path: Path) -> None:
    write(tmp_path, "y.png,10,20,40,40,cat\nx.png,,,,,")
    dataset = open_csv(tmp_path, None, title="t")
    assert len(dataset[1].boxes) == 0
    assert not dataset.unlabeled


@pytest.mark.parametrize("folder", [True, False])
def test_splits_are_folders_or_files_and_share_the_class_names(folder: bool, tmp_path: Path) -> None:
    names = ("train/_annotations.csv", "valid/_annotations.csv") if folder else ("train_labels.csv", "valid_labels.csv")
    images = ("train/x.png", "valid/y.png") if folder else ("images/x.png", "images/y.png")
    write(tmp_path, MAKESENSE, names[0], images[0])
    write(tmp_path, MAKESENSE.replace("x.png", "y.png").replace("cat", "dog"), names[1], images[1])
    assert csv_splits(tmp_path) == ("train", "valid")
    datasets = [open_csv(tmp_path, split, title="t") for split in ("train", "val")]
    assert [dataset.ids for dataset in datasets] == [("x",), ("y",)]
    assert [dataset.class_names for dataset in datasets] == [("cat", "dog")] * 2
    with pytest.raises(DataError, match="there is no split 'test'; splits here: train, valid"):
        open_csv(tmp_path, "test", title="t")


def test_the_size_that_a_row_states_is_compared(tmp_path: Path) -> None:
    write(tmp_path, "cat,5,10,15,10,x.png,40,32")
    assert open_csv(tmp_path, None, title="t")[0].boxes.tolist() == [[10, 20, 40, 40]]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("cat,10,20,30,inf,x.png,80,64", "labels.csv:2: expected pixel coordinates"),
        ("cat,10,20,30,,x.png,80,64", "labels.csv:2: expected numbers"),
        (",10,20,30,20,x.png,80,64", "labels.csv:2: expected a name"),
        ("cat,10,20,30,20,x.png,80,0", "labels.csv:2: expected width and height"),
    ],
)
def test_errors_of_a_row_name_the_line(row: str, message: str, tmp_path: Path) -> None:
    write(tmp_path, f"{MAKESENSE.replace('x.png', 'y.png')}\n{row}")
    with pytest.raises(DataError, match=message):
        _ = open_csv(tmp_path, None, title="t")[1]


@pytest.mark.parametrize(
    ("row", "message"),
    [("cat,10,20,30,20,,80,64", "labels.csv:2: expected the name of an image"), ("cat,1", "labels.csv:2: expected 8")],
)
def test_errors_of_the_file_name_the_line(row: str, message: str, tmp_path: Path) -> None:
    write(tmp_path, f"{MAKESENSE}\n{row}")
    with pytest.raises(DataError, match=message):
        open_csv(tmp_path, None, title="t")


def test_a_table_beside_another_format_is_not_counted(tmp_path: Path) -> None:
    synthetic_data.write_coco(tmp_path, synthetic_data.draw(2))
    write(tmp_path, TENSORFLOW)
    assert detect_layout(tmp_path).format == "coco"
