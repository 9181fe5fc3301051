"""The YOLO reader."""

from pathlib import Path

import numpy as np
import pytest

from blitznet.core.errors import DataError
from blitznet.data.dataset import UnknownClassError, treat_unlabeled
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


def test_an_empty_label_file_means_no_object_and_a_missing_one_no_annotation(root: Path) -> None:
    dataset = open_yolo(root, "train", title="t")
    assert not dataset.unlabeled
    sample = dataset[3]
    assert sample.annotated_box_classes.all()
    assert len(sample.labels) == 0
    class_map = sample.class_map()
    assert class_map is not None
    assert not class_map.any()
    (root / "labels" / "train" / f"{sample.id}.txt").unlink()
    dataset = open_yolo(root, "train", title="t")
    assert dataset.unlabeled == {3}
    assert not dataset[3].annotated_box_classes.any()
    assert dataset[3].mask is None
    empty = treat_unlabeled(dataset, "empty")
    assert empty[3].annotated_box_classes.all()
    assert empty.assumed_empty == {3}


@pytest.mark.parametrize(
    "yaml",
    [
        "train: images/train\nnames: [cross, ell, square]\n",
        "path: .\ntrain: [images/train]\nnames: {0: cross, 1: ell, 2: square}\n",
        "path: /somewhere/else\ntrain: ../images/train\nval: nothing\nnames: [cross, ell, square]\n",
        "train: train.txt\nnames: [cross, ell, square]\nnc: 3\n",
        "train: train.txt\nnames: [cross, ell, square]\nnc: '3'\n",
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
        ("train: images/train\nnames: {a: b}", "names numbered 0, 1, 2"),
        ("train: images/train\nnames: {-1: b}", "names numbered 0, 1, 2"),
        ("train: images/train\nnames: [a]\nnc: 2", "expected 2 names as nc states, got 1"),
        ("train: images/train\nnames: [yes, no]", "expected names as text, got True; YAML reads words such as yes"),
        ("train: images/train\nnames: {0: null}", "expected names as text, got None"),
        ("train: images/train\nnames: [[a]]", "expected names as text"),
        ("train: images/train\nnames: [a]\nkpt_shape: 17", "expected kpt_shape as"),
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


@pytest.mark.parametrize(
    ("train", "base"),
    [
        ("/content/Shapes-1/images/train", ""),
        ("C:\\\\data\\\\shapes\\\\images\\\\train", ""),
        ("../images/train", "/content/elsewhere"),
        ("shapes/images/train", ""),
    ],
)
def test_paths_of_another_machine_are_found_by_their_end(train: str, base: str, root: Path) -> None:
    (root / "data.yaml").write_text(f'path: "{base}"\ntrain: "{train}"\nnames: [cross, ell, square]\n')
    assert len(open_yolo(root, "train", title="t")) == 4


def test_the_yaml_file_may_have_another_name(root: Path) -> None:
    (root / "data.yaml").rename(root / "shapes.yml")
    (root / "notes.yaml").write_text("a: 1")
    assert len(open_yolo(root, "train", title="t")) == 4
    (root / "more.yaml").write_text("names: [a]")
    with pytest.raises(
        DataError, match=r"expected one YAML file with `names`, got more\.yaml, shapes\.yml; write yolo:"
    ):
        open_yolo(root, "train", title="t")


def test_class_numbers_may_have_gaps(root: Path) -> None:
    (root / "data.yaml").write_text("train: images/train\nnames: {7: ell, 2: cross, 90: square}\n")
    for path in (root / "labels" / "train").iterdir():
        lines = [line.split(maxsplit=1) for line in path.read_text().splitlines()]
        path.write_text("".join(f"{(2, 7, 90)[int(number)]} {rest}\n" for number, rest in lines))
    dataset = open_yolo(root, "train", title="t")
    assert dataset.class_names == synthetic_data.NAMES
    assert dataset[0].labels.tolist() == synthetic_data.draw(4)[0].labels.tolist()
    (root / "labels" / "train" / "toy_0000.txt").write_text("3 0.5 0.5 0.1 0.1")
    with pytest.raises(UnknownClassError, match=r"expected a class of \[2, 7, 90\]"):
        open_yolo(root, "train", title="t")[0]


@pytest.mark.parametrize("shape", [(4, 2), (4, 3), (17, 3), (1, 2)])
def test_keypoints_are_left_out(shape: tuple[int, int], root: Path) -> None:
    (root / "data.yaml").write_text(f"train: images/train\nkpt_shape: {list(shape)}\nnames: [cross, ell, square]\n")
    points = " ".join(["0.3"] * (shape[0] * shape[1]))
    for path in (root / "labels" / "train").iterdir():
        path.write_text(f"1 0.5 0.5 0.2 0.4 {points}\n")
    sample = open_yolo(root, "train", title="t")[0]
    np.testing.assert_allclose(sample.boxes, [[48, 28.8, 72, 67.2]], rtol=1e-5)
    assert sample.mask is None
    (root / "labels" / "train" / "toy_0000.txt").write_text("1 0.5 0.5 0.2 0.4")
    with pytest.raises(DataError, match="numbers of keypoints, as kpt_shape states, got 5 numbers"):
        open_yolo(root, "train", title="t")[0]


@pytest.mark.parametrize(
    ("images", "labels", "split"),
    [
        ("images", "labels", None),
        ("images/train", "labels/train", "train"),
        ("train/images", "train/labels", "train"),
        ("valid/images", "valid/labels", "val"),
        ("imgs", "Labels", None),
        (".", ".", None),
        ("images", "images", None),
    ],
)
def test_folders_without_a_yaml_file(images: str, labels: str, split: str | None, root: Path, tmp_path: Path) -> None:
    target = tmp_path / "set"
    for source, folder in ((root / "images" / "train", images), (root / "labels" / "train", labels)):
        (target / folder).mkdir(parents=True, exist_ok=True)
        for path in sorted(source.iterdir()):
            path.rename(target / folder / path.name)
    (target / "classes.txt").write_text("cross\nell\nsquare\n")
    dataset = open_yolo(target, split, title="t")
    assert [len(dataset[k].labels) for k in range(4)] == [len(d.labels) for d in synthetic_data.draw(4)]
    with pytest.raises(DataError, match="there is no split 'test'; splits here:"):
        open_yolo(target, "test", title="t")


def test_hidden_files_are_no_images(root: Path) -> None:
    (root / "images" / "train" / "._toy_0000.png").write_bytes(b"macOS")
    assert len(open_yolo(root, "train", title="t")) == 4


@pytest.mark.parametrize("name", ["toy_0001.TXT", "toy_0001.Txt"])
def test_label_files_may_have_upper_case_endings(name: str, root: Path) -> None:
    expected = open_yolo(root, "train", title="t")[1].boxes.tolist()
    path = root / "labels" / "train" / "toy_0001.txt"
    path.rename(path.with_name(name))
    dataset = open_yolo(root, "train", title="t")
    assert not dataset.unlabeled
    assert dataset[1].boxes.tolist() == expected


def test_two_label_files_of_one_name_are_refused(root: Path) -> None:
    (root / "labels" / "train" / "toy_0001.TXT").write_text("0 0.5 0.5 0.1 0.1")
    with pytest.raises(DataError, match=r"toy_0001\.TXT: expected one label file of this name, got also toy_0001\.txt"):
        open_yolo(root, "train", title="t")[1]


def test_accents_may_be_written_in_two_ways(root: Path) -> None:
    """Zips made on macOS have decomposed names."""
    expected = open_yolo(root, "train", title="t")[1].boxes.tolist()
    for folder, name in (("images", "cafe\u0301.png"), ("labels", "caf\u00e9.txt")):
        path = root / folder / "train" / f"toy_0001{Path(name).suffix}"
        path.rename(path.with_name(name))
    dataset = open_yolo(root, "train", title="t")
    assert not dataset.unlabeled
    assert dataset[dataset.ids.index("caf\u00e9")].boxes.tolist() == expected


def test_images_behind_a_link_to_a_folder_are_read(root: Path, tmp_path: Path) -> None:
    for kind in ("images", "labels"):
        (tmp_path / "disk" / kind).mkdir(parents=True)
        for path in (root / kind / "train").glob("toy_0001.*"):
            path.rename(tmp_path / "disk" / kind / path.name)
        (root / kind / "train" / "day2").symlink_to(tmp_path / "disk" / kind)
    dataset = open_yolo(root, "train", title="t")
    assert dataset.ids == ("day2/toy_0001", "toy_0000", "toy_0002", "toy_0003")
    assert not dataset.unlabeled


def test_names_of_the_splits_may_be_in_upper_case(root: Path) -> None:
    (root / "data.yaml").write_text("Train: images/train\nVAL: images/train\nnames: [cross, ell, square]\n")
    assert len(open_yolo(root, "train", title="t")) == len(open_yolo(root, "valid", title="t")) == 4
