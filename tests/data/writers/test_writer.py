"""Helpers that all dataset writers share."""

from pathlib import Path

import pytest

from blitznet.core.errors import DataError, UsageError
from blitznet.data.convert import convert_dataset
from blitznet.data.writers.coco import CocoWriter
from blitznet.data.writers.writer import copy_image, flat_name, require_same_classes
from support import synthetic_data
from support.conversions import open_text, write_annotations


def test_links_point_to_the_images(tmp_path: Path) -> None:
    dataset = write_annotations(tmp_path / "a", [[]])
    convert_dataset(dataset, "coco", tmp_path / "b", "val", link=True)
    target = tmp_path / "b" / "val" / "0.png"
    assert target.is_symlink()
    assert target.read_bytes() == (tmp_path / "a" / "train" / "0.png").read_bytes()
    convert_dataset(dataset, "coco", tmp_path / "b", "val")  # overwrites the link
    assert not target.is_symlink()


def test_links_are_replaced_by_a_second_run(tmp_path: Path) -> None:
    synthetic_data.write_yolo(tmp_path / "old", synthetic_data.draw(2, seed=1))
    for _ in range(2):
        convert_dataset(open_text(f"yolo:{tmp_path / 'old'}@train"), "yolo", tmp_path / "new", "train", link=True)
    links = [path for path in (tmp_path / "new").rglob("*") if path.is_symlink()]
    assert len(links) == 2
    assert all(path.is_file() for path in links)


@pytest.mark.parametrize("link", [False, True])
def test_images_are_never_overwritten(tmp_path: Path, link: bool) -> None:
    synthetic_data.write_yolo(tmp_path, synthetic_data.draw(2, seed=1))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=r"expected a new file, got the image itself; choose another --out$"):
        convert_dataset(open_text(f"yolo:{tmp_path / 'data.yaml'}@train"), "yolo", tmp_path, "train", link=link)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert not any(path.is_symlink() for path in before)


def test_missing_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"0\.png: expected an image, got a path that does not exist"):
        copy_image(tmp_path / "0.png", CocoWriter(tmp_path / "new", "train", ("a",)), "0.png")


def test_flat_names_have_no_folders() -> None:
    assert flat_name("a/b/c") == "a_b_c"


def test_other_classes_are_refused(tmp_path: Path) -> None:
    require_same_classes(tmp_path, ("a", "b"), ("a", "b"))
    with pytest.raises(
        UsageError, match="expected the classes a, b, got b, a from another split; choose another --out"
    ):
        require_same_classes(tmp_path, ("b", "a"), ("a", "b"))
