"""Datasets that are split by a hash of their images."""

from pathlib import Path

import numpy as np
import pytest

from blitznet.core.errors import DataError, UsageError
from blitznet.data.partition import group_keys, select_part, subset
from blitznet.data.sources import open_dataset, parse_source, split_sources
from blitznet.data.yolo import YoloDataset, open_yolo
from support import synthetic_data


def write(root: Path, count: int = 20) -> YoloDataset:
    synthetic_data.write_yolo(root, synthetic_data.draw(count, size=(32, 40)))
    return open_yolo(root, "train", title="t")


def test_parts_are_disjoint_and_complete(tmp_path: Path) -> None:
    dataset = write(tmp_path)
    train, val = (select_part(dataset, part, 0.3) for part in ("train", "val"))
    assert sorted([*train.ids, *val.ids]) == sorted(dataset.ids)
    assert 2 <= len(val) <= 12
    for part in (train, val):
        for index, name in enumerate(part.ids):
            expected = dataset[dataset.ids.index(name)]
            np.testing.assert_array_equal(part[index].boxes, expected.boxes)
            np.testing.assert_array_equal(part[index].class_map(), expected.class_map())
            assert part.annotations is not None
            assert len(part.annotations.labels[part.annotations.image_slice(index)]) == len(expected.labels)


def test_a_larger_fraction_keeps_the_images_of_a_smaller_one(tmp_path: Path) -> None:
    dataset = write(tmp_path)
    parts = [set(select_part(dataset, "val", fraction).ids) for fraction in (0.2, 0.4, 0.8)]
    assert parts[0] <= parts[1] <= parts[2]


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_no_part_is_empty(fraction: float, tmp_path: Path) -> None:
    dataset = write(tmp_path, 4)
    assert {len(select_part(dataset, part, fraction)) for part in ("train", "val")} == {1, 3}


def test_copies_stay_together(tmp_path: Path) -> None:
    write(tmp_path, 12)
    for folder, suffix in (("images", ".png"), ("labels", ".txt")):
        for number, path in enumerate(sorted((tmp_path / folder / "train").iterdir())):
            path.rename(path.with_name(f"street{number // 3}_jpg.rf.{number:08x}{suffix}"))
    images = sorted((tmp_path / "images" / "train").iterdir())
    (tmp_path / "images" / "train" / "equal bytes.png").write_bytes(images[0].read_bytes())
    dataset = open_yolo(tmp_path, "train", title="t")
    keys = dict(zip(dataset.ids, group_keys(dataset), strict=True))
    assert keys["equal bytes"] == keys[images[0].stem]
    assert len(set(keys.values())) == 4
    val = select_part(dataset, "val", 0.5)
    train = select_part(dataset, "train", 0.5)
    assert not {keys[name] for name in val.ids} & {keys[name] for name in train.ids}


def test_subset_keeps_what_is_known_of_each_image(tmp_path: Path) -> None:
    write(tmp_path, 3)
    (tmp_path / "labels" / "train" / "toy_0000.txt").write_text("nonsense")
    (tmp_path / "labels" / "train" / "toy_0001.txt").unlink()
    dataset = open_yolo(tmp_path, "train", title="t")
    part = subset(dataset, [2, 1, 0])
    assert part.ids == ("toy_0002", "toy_0001", "toy_0000")
    assert part.unlabeled == frozenset(2 - index for index in dataset.unlabeled)
    assert list(part.errors) == [2]
    assert part.image_paths == dataset.image_paths[::-1]


def test_a_fraction_as_val_splits_every_training_set(tmp_path: Path) -> None:
    write(tmp_path)
    text = f"yolo:{tmp_path}@train"
    training, evaluation = split_sources([f"{text},sample_weight=2"], ["0.25"])
    assert [source.part for source in (*training, *evaluation)] == [("train", 0.25), ("val", 0.25)]
    assert training[0].sample_weight == 2
    parts = [open_dataset(source) for source in (*training, *evaluation)]
    assert sum(map(len, parts)) == 20
    assert parts[0].title != parts[1].title
    assert open_dataset(parse_source(f"{text},part=val+0.25")).ids == parts[1].ids


@pytest.mark.parametrize("value", ["0", "1", "1.5", "-0.2"])
def test_fractions_are_between_0_and_1(value: str, tmp_path: Path) -> None:
    write(tmp_path, 2)
    with pytest.raises(UsageError, match="expected a dataset, or a fraction between 0 and 1"):
        split_sources([f"yolo:{tmp_path}@train"], [value])


def test_one_image_cannot_be_split(tmp_path: Path) -> None:
    """Its training part would be empty, or its evaluation part."""
    text = synthetic_data.write_yolo(tmp_path, synthetic_data.draw(1))
    for part in ("train", "val"):
        with pytest.raises(DataError, match="expected two images or more that are no copies to split, got 1"):
            open_dataset(parse_source(f"{text},part={part}+0.2"))
