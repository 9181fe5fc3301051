"""Notices about an opened dataset."""

import json
from pathlib import Path

from blitznet.data.notices import dataset_notices
from blitznet.data.sources import open_dataset, parse_source
from support import synthetic_data


def test_label_files_without_an_image_are_counted(tmp_path: Path) -> None:
    """An image of a format that is not read, such as HEIC, would be lost in silence."""
    text = synthetic_data.write_yolo(tmp_path, synthetic_data.draw(3))
    image = tmp_path / "images" / "train" / "toy_0001.png"
    image.rename(image.with_suffix(".heic"))
    label = tmp_path / "labels" / "train" / "toy_0001.txt"
    assert dataset_notices(open_dataset(parse_source(text))) == [
        f"{text}: 1 label files without an image, left out; the first is {label}"
    ]


def test_images_without_a_label_are_counted(tmp_path: Path) -> None:
    text = synthetic_data.write_yolo(tmp_path, synthetic_data.draw(3))
    (tmp_path / "labels" / "train" / "toy_0001.txt").unlink()
    for option, ending in (
        ("", "have no label and are left out; unlabelled=empty takes them as images without objects"),
        (
            ",unlabelled=empty",
            "have no label and count as images without objects; unlabelled=skip leaves them out",
        ),
    ):
        dataset = open_dataset(parse_source(text + option))
        assert dataset_notices(dataset) == [f"{text}{option}: 1 of 3 images {ending}"]


def test_images_with_several_annotation_files_are_counted(tmp_path: Path) -> None:
    text = synthetic_data.write_yolo(tmp_path, synthetic_data.draw(1))
    image = tmp_path / "images" / "train" / "toy_0000.png"
    (tmp_path / "train.txt").write_text(f"images/train/toy_0000.png\n{image}\n")
    (tmp_path / "data.yaml").write_text("train: train.txt\nnames: [cross, ell, square]\n")
    assert dataset_notices(open_dataset(parse_source(text))) == [
        f"{text}: 1 images listed several times, with annotations of their own; the first is {image}"
    ]


def test_joined_entries_are_counted(tmp_path: Path) -> None:
    text = synthetic_data.write_coco(tmp_path, synthetic_data.draw(3))
    path = tmp_path / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    content["images"][1]["file_name"] = content["images"][0]["file_name"]
    path.write_text(json.dumps(content))
    dataset = open_dataset(parse_source(text))
    assert f"{text}: 1 images listed several times, joined; the first is toy_0000.png" in dataset_notices(dataset)
    part = open_dataset(parse_source(f"{text},part=train+0.5"))
    assert part.remarks == dataset.remarks
