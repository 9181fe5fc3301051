"""Conversion of datasets: the result equals the input, and what a format cannot represent is reported first."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blitznet.core.errors import DataError, UsageError
from blitznet.data.convert import DATASET_WRITERS, convert_dataset, count_unsupported
from support import synthetic_data
from support.conversions import (
    CROWD,
    DIFFICULT,
    OTHER_BOX,
    RUN_LENGTHS,
    TWO_POLYGONS,
    open_text,
    samples,
    write_annotations,
)


@pytest.mark.parametrize("to", ["voc", "folder"])
def test_names_with_spaces_are_kept(tmp_path: Path, to: str) -> None:
    names = ("my image", "street 1", "IMG_1.JPG")
    drawings = [replace(drawing, id=name) for drawing, name in zip(synthetic_data.draw(3, seed=3), names, strict=True)]
    before = open_text(synthetic_data.write_voc(tmp_path / "a", drawings))
    convert_dataset(before, to, tmp_path / "b", "train", lossy=True)
    once = open_text(f"{to}:{tmp_path / 'b'}@train")
    convert_dataset(once, to, tmp_path / "c", "train", lossy=True)
    for dataset in (before, once, open_text(f"{to}:{tmp_path / 'c'}@train")):
        assert dataset.ids == names
        for sample, drawing in zip(samples(dataset), drawings, strict=True):
            np.testing.assert_array_equal(sample.image.read(), drawing.image)
            np.testing.assert_array_equal(sample.class_map(), drawing.class_map)


@pytest.mark.parametrize(
    ("item", "to", "lost"),
    [
        (CROWD, "yolo", "crowds"),
        (TWO_POLYGONS, "yolo", "outlines of several polygons; their boxes are kept"),
        (RUN_LENGTHS, "yolo", "outlines as run lengths, which may have holes; their boxes are kept"),
        (OTHER_BOX, "yolo", "boxes that differ from the extent of their outlines"),
        (DIFFICULT, "yolo", "the flag `difficult`"),
        (CROWD, "voc", "crowds, because VOC has only their ignored pixels"),
        (RUN_LENGTHS, "folder", "boxes, because a folder has class maps only"),
    ],
)
def test_losses_are_reported_before_anything_is_written(
    tmp_path: Path, item: dict[str, Any], to: str, lost: str
) -> None:
    dataset = write_annotations(tmp_path / "a", [[item], []])
    with pytest.raises(DataError, match=f"{to} would lose .*pass --lossy to drop them") as caught:
        convert_dataset(dataset, to, tmp_path / "b", "train")
    assert lost in str(caught.value)
    assert not (tmp_path / "b").exists()
    assert convert_dataset(dataset, to, tmp_path / "b", "train", lossy=True)[lost] >= 1


def test_masks_without_boxes_do_not_become_empty_images(tmp_path: Path) -> None:
    synthetic_data.write_folder(tmp_path / "a", synthetic_data.draw(2, seed=1))
    dataset = open_text(f"folder:{tmp_path / 'a'}")
    for to in ("coco", "yolo"):
        unsupported = count_unsupported(dataset, DATASET_WRITERS[to](tmp_path / "b", "train", dataset.class_names))
        assert [text.partition(",")[0] for text in unsupported] == ["class maps", "missing box annotations"]


def test_splits_share_a_folder_and_must_share_their_classes(tmp_path: Path) -> None:
    first = write_annotations(tmp_path / "a", [[], []])
    for to in ("yolo", "voc"):
        for split in ("train", "val"):
            convert_dataset(first, to, tmp_path / to, split)
            assert len(open_text(f"{to}:{tmp_path / to}@{split}")) == 2
        second = open_text(synthetic_data.write_coco(tmp_path / f"second-{to}", synthetic_data.draw(1, seed=0)))
        with pytest.raises(UsageError, match=r"the classes cross, ell, square, got person, bicycle, my own from"):
            convert_dataset(second, to, tmp_path / to, "test", lossy=True)


def test_progress_is_reported_for_each_image(tmp_path: Path) -> None:
    dataset = write_annotations(tmp_path / "a", [[], []])
    steps: list[tuple[str, int, int]] = []
    convert_dataset(
        dataset, "coco", tmp_path / "b", "val", progress=lambda label, done, total: steps.append((label, done, total))
    )
    assert steps == [(dataset.title, 1, 2), (dataset.title, 2, 2)]


def test_images_with_one_name_are_refused(tmp_path: Path) -> None:
    dataset = replace(write_annotations(tmp_path / "a", [[], []]), ids=("x/1", "x_1"))
    with pytest.raises(DataError, match=r"expected unique image names, got 1 duplicates, first 'x_1'"):
        convert_dataset(dataset, "voc", tmp_path / "b", "train")


def test_missing_images_and_unknown_formats_are_refused(tmp_path: Path) -> None:
    dataset = write_annotations(tmp_path / "a", [[]])
    with pytest.raises(UsageError, match="format: expected one of coco, voc, yolo, folder, got 'png'"):
        convert_dataset(dataset, "png", tmp_path / "b", "train")
    (tmp_path / "a" / "train" / "0.png").unlink()
    with pytest.raises(DataError, match=r"0\.png: expected an image, got a path that does not exist"):
        convert_dataset(dataset, "coco", tmp_path / "b", "train")


def test_conversion_that_ends_right_after_its_last_move_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_text(synthetic_data.write_voc(tmp_path / "a", synthetic_data.draw(3)))
    replace_file = Path.replace

    def replace_and_stop(path: Path, target: Path) -> Path:
        moved = replace_file(path, target)
        if target == tmp_path / "b" / "ImageSets" / "Main" / "train.txt":
            raise KeyboardInterrupt
        return moved

    monkeypatch.setattr(Path, "replace", replace_and_stop)
    with pytest.raises(KeyboardInterrupt):
        convert_dataset(dataset, "voc", tmp_path / "b", "train")
    monkeypatch.undo()
    convert_dataset(dataset, "voc", tmp_path / "b", "train")
    assert open_text(f"voc:{tmp_path / 'b'}@train").ids == dataset.ids


@pytest.mark.parametrize("to", ["coco", "yolo", "folder"])
def test_a_conversion_that_would_hold_nothing_is_refused(to: str, tmp_path: Path) -> None:
    """Every image would be listed as empty, or the new set could not be read."""
    if to == "folder":
        dataset = open_text(synthetic_data.write_yolo(tmp_path / "a", synthetic_data.draw(2), outlines=False))
    else:
        synthetic_data.write_folder(tmp_path / "a", synthetic_data.draw(2))
        dataset = open_text(f"folder:{tmp_path / 'a'}")
    with pytest.raises(DataError, match=rf"in some image, got none; {to} could hold nothing of it"):
        convert_dataset(dataset, to, tmp_path / "b", "train", lossy=True)
    assert not (tmp_path / "b").exists()


def test_images_that_nobody_annotated_stay_so(tmp_path: Path) -> None:
    text = synthetic_data.write_yolo(tmp_path / "a", synthetic_data.draw(3), outlines=False)
    (tmp_path / "a" / "labels" / "train" / "toy_0001.txt").unlink()
    for to in ("yolo", "voc"):
        convert_dataset(open_text(text), to, tmp_path / to, "train", lossy=True)
        converted = open_text(f"{to}:{tmp_path / to}@train")
        assert converted.ids[1] == "toy_0001"
        assert converted.unlabeled == {1}


@pytest.mark.parametrize("to", ["coco", "yolo", "voc", "folder"])
def test_classes_that_are_not_complete_are_reported(to: str, tmp_path: Path) -> None:
    text = synthetic_data.write_coco(tmp_path / "a", synthetic_data.draw(3))
    dataset = replace(open_text(text), incomplete={1: (0,)})
    lost = count_unsupported(dataset, DATASET_WRITERS[to](tmp_path / "b", "train", dataset.class_names))
    expected = "missing box annotations" if to in ("coco", "yolo") else "classes that are not annotated in an image"
    assert [count for reason, count in lost.items() if reason.startswith(expected)] == [1]


@pytest.mark.parametrize("split", ["..", "a/b", "../../x", "a\\b", ".hidden", "", " a", "a\nb"])
def test_a_split_is_the_name_of_a_file(split: str, tmp_path: Path) -> None:
    """Another one would be written outside of the folder."""
    dataset = open_text(synthetic_data.write_voc(tmp_path / "a", synthetic_data.draw(1)))
    with pytest.raises(UsageError, match="expected a name without slashes"):
        convert_dataset(dataset, "voc", tmp_path / "b", split)
    assert not (tmp_path / "b").exists()
