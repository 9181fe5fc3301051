"""The YOLO reader."""

from pathlib import Path

import numpy as np
import pytest

from blitznet.core.errors import DataError
from blitznet.data.dataset import UnknownClassError
from blitznet.data.yolo import open_yolo
from support import synthetic_data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    synthetic_data.write_yolo(tmp_path, synthetic_data.draw(4))
    return tmp_path


def test_datasets_of_boxes_have_no_masks(tmp_path: Path) -> None:
    drawings = synthetic_data.draw(4)
    synthetic_data.write_yolo(tmp_path, drawings, outlines=False)
    dataset = open_yolo(tmp_path, "train", title="t")
    for k, drawing in enumerate(drawings):
        assert dataset[k].mask is None
        np.testing.assert_allclose(dataset[k].boxes, drawing.boxes, atol=1e-4)


def test_images_without_a_label_file_are_annotated_and_empty(root: Path) -> None:
    sample = open_yolo(root, "train", title="t")[3]
    assert sample.annotated_box_classes.all()
    assert len(sample.labels) == 0
    class_map = sample.class_map()
    assert class_map is not None
    assert not class_map.any()


@pytest.mark.parametrize(
    "yaml",
    [
        "train: images/train\nnames: [cross, ell, square]\n",
        "path: .\ntrain: [images/train]\nnames: {0: cross, 1: ell, 2: square}\n",
        "path: /somewhere/else\ntrain: ../images/train\nval: nothing\nnames: [cross, ell, square]\n",
        "train: train.txt\nnames: [cross, ell, square]\nnc: 3\n",
    ],
)
def test_forms_of_data_yaml(yaml: str, root: Path) -> None:
    (root / "train.txt").write_text("".join(f"./images/train/toy_000{k}.png\n" for k in range(4)))
    (root / "data.yaml").write_text(yaml)
    dataset = open_yolo(root, "train", title="t")
    assert dataset.class_names == synthetic_data.NAMES
    assert [Path(name).name for name in dataset.ids] == [f"toy_000{k}" for k in range(4)]
    assert open_yolo(root / "data.yaml", "train", title="t")[0].labels.tolist() == dataset[0].labels.tolist()
    assert dataset[0].labels.tolist() == synthetic_data.draw(4)[0].labels.tolist()


def test_listed_images_that_share_a_name_are_refused(root: Path) -> None:
    """They share a label file, so one of them would be lost or trained with the boxes of the other."""
    (root / "train.txt").write_text("./images/train/a.png\n./images/train/a.jpg\n./images/train/a.jpg\n")
    (root / "data.yaml").write_text("train: train.txt\nnames: [cross, ell, square]\n")
    with pytest.raises(DataError, match=r"a\.jpg: expected one image of this name, got also a\.png"):
        open_yolo(root, "train", title="t")


def test_several_folders_may_contain_images_of_one_name(tmp_path: Path) -> None:
    for k, split in enumerate(("a", "b")):
        synthetic_data.write_yolo(tmp_path, synthetic_data.draw(3, seed=k), split)
    (tmp_path / "data.yaml").write_text("train: [images/a, images/b]\nnames: [cross, ell, square]\n")
    dataset = open_yolo(tmp_path, "train", title="t")
    assert len(set(dataset.ids)) == len(dataset) == 6


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("9 0.5 0.5 0.1 0.1", r"toy_0001\.txt:1: expected a class of 0\.\.2 as in data\.yaml, got 9"),
        ("-1 0.5 0.5 0.1 0.1", "expected a class of .* got -1"),
        ("0.5 0.5 0.5 0.1 0.1", r"expected a class of .* got 0\.5"),
        ("0 0.5 0.5 0.1", "got 4 numbers"),
        ("0 0.5 0.5 0.1 0.1 0.9", "got 6 numbers"),
        ("0 0.5 x 0.1 0.1", "expected numbers, got '0 0.5 x"),
        ("0 0.5 nan 0.1 0.1", "expected fractions"),
    ],
)
def test_broken_lines_are_errors_of_their_sample(line: str, message: str, root: Path) -> None:
    (root / "labels" / "train" / "toy_0001.txt").write_text(line)
    dataset = open_yolo(root, "train", title="t")
    assert dataset[0].id == "toy_0000"
    with pytest.raises(UnknownClassError if "expected a class" in message else DataError, match=message):
        dataset[1]


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("a: [", "expected a YAML file"),
        ("text", "got a str"),
        ("train: images/train", "expected `names`"),
        ("train: images/train\nnames: {1: a, 2: b}", "names numbered 0, 1, 2"),
        ("val: images/train\nnames: [a]", "there is no split 'train'; splits here: val; write yolo:"),
        ("train: nowhere\nnames: [a]", "nowhere: expected a folder or list"),
        ("train: labels/train\nnames: [a]", "expected images in split 'train'"),
        ("train: !!python/object/apply:os.getcwd []\nnames: [a]", "expected a YAML file"),
    ],
)
def test_broken_data_yaml_is_refused(yaml: str, message: str, root: Path) -> None:
    (root / "data.yaml").write_text(yaml)
    with pytest.raises(DataError, match=message):
        open_yolo(root, "train", title="t")
