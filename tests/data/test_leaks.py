"""Clean protocol: leaks and duplicates."""

from dataclasses import replace
from pathlib import Path

import pytest

from blitznet.core.errors import DataError
from blitznet.core.sample import Dataset
from blitznet.data.leaks import find_duplicates, find_leaks, image_key, list_images, refuse_leaks
from blitznet.data.sources import open_dataset, parse_source
from support import synthetic_data


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (("VOCdevkit/VOC2012/JPEGImages/2007_000032.jpg", "voc"), ("d/VOC2007/JPEGImages/000032.jpg", "voc"), True),
        (("VOC2012/JPEGImages/2008_000032.jpg", "voc"), ("VOC2007/JPEGImages/000032.jpg", "voc"), False),
        (("VOC2012/JPEGImages/2008_000032.jpg", "voc"), ("sbd/img/2008_000032.jpg", "sbd"), True),
        (("VOC2012/JPEGImages/2008_000032.jpg", "voc"), ("own/images/2008_000032.png", "folder"), True),
        (("own/JPEGImages/000032.jpg", "voc"), ("VOC2007/JPEGImages/000032.jpg", "voc"), False),
        (("val2017/000000000042.jpg", "coco"), ("COCO_val2014_000000000042.jpg", "coco"), True),
        (("val2017/000000000042.jpg", "coco"), ("images/000000000042.jpg", "yolo"), True),
        (("a/JPEGImages/x.jpg", "voc"), ("b/JPEGImages/x.jpg", "voc"), True),
        (("a/images/x.jpg", "folder"), ("b/images/x.jpg", "folder"), False),
        (("a/images/x.jpg", "folder"), ("a/images/../images/x.jpg", "yolo"), True),
    ],
)
def test_image_keys(first: tuple[str, str], second: tuple[str, str], same: bool) -> None:
    keys = [image_key(path, Path(path).stem, dataset_format) for path, dataset_format in (first, second)]
    assert (keys[0] == keys[1]) == same


def open_text(text: str) -> Dataset:
    return open_dataset(parse_source(text))


def with_ids(drawings: list[synthetic_data.Drawing], names: list[str]) -> list[synthetic_data.Drawing]:
    return [replace(drawing, id=name) for drawing, name in zip(drawings, names, strict=True)]


def test_voc2007_images_in_voc2012_are_leaks(tmp_path: Path) -> None:
    train = with_ids(
        synthetic_data.draw(5), ["2007_000001", "2007_000002", "2007_000003", "2007_000004", "2008_000005"]
    )
    test = with_ids(synthetic_data.draw(5, seed=1), ["000001", "000002", "000003", "000004", "000005"])
    first = open_text(synthetic_data.write_voc(tmp_path / "VOC2012", train))
    second = open_text(synthetic_data.write_voc(tmp_path / "VOC2007", test, "test"))
    assert [(leak.train, leak.evaluation) for leak in find_leaks([first], [second])] == [
        (f"2007_00000{k}", f"00000{k}") for k in range(1, 5)
    ]
    message = r"VOC2007@test: 4 evaluation image\(s\) .*: 000001, 000002, 000003; .*--allow-leaks"
    with pytest.raises(DataError, match=message):
        refuse_leaks([first], [second])


def test_equal_bytes_under_another_name_and_format_are_a_leak(tmp_path: Path) -> None:
    drawings = synthetic_data.draw(4)
    first = open_text(synthetic_data.write_voc(tmp_path / "a", drawings[:2]))
    second = open_text(synthetic_data.write_folder(tmp_path / "b", with_ids(drawings[1:], ["x", "y", "z"])))
    assert [(leak.train, leak.evaluation) for leak in find_leaks([first], [second])] == [("toy_0001", "x")]


def test_datasets_without_a_shared_image_pass(tmp_path: Path) -> None:
    first = open_text(synthetic_data.write_folder(tmp_path / "a", synthetic_data.draw(3)))
    second = open_text(synthetic_data.write_folder(tmp_path / "b", synthetic_data.draw(3, seed=1)))
    refuse_leaks([first], [second])


def test_duplicates_within_a_dataset(tmp_path: Path) -> None:
    drawings = synthetic_data.draw(3)
    dataset = open_text(synthetic_data.write_voc(tmp_path, [*drawings, *with_ids(drawings[:1], ["again"])]))
    pairs = find_duplicates(list(list_images(dataset)))
    assert [(first.id, second.id) for first, second in pairs] == [("toy_0000", "again")]
