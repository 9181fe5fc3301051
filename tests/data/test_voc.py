"""The Pascal VOC reader."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blitznet.core import classes
from blitznet.core.errors import DataError
from blitznet.data.dataset import UnknownClassError, require_no_errors
from blitznet.data.voc import open_voc, parse_annotation
from support import synthetic_data

BOX = "<bndbox><xmin>80.1</xmin><ymin>1</ymin><xmax>288</xmax><ymax>140.5</ymax></bndbox>"


def annotate(root: Path, name: str, objects: str) -> None:
    (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    synthetic_data.write_voc(tmp_path, synthetic_data.draw(3))
    return tmp_path


def test_boxes_become_0_based_and_continuous(root: Path) -> None:
    annotate(root, "toy_0000", f"<object><name>dog</name><difficult>1</difficult>{BOX}</object>")
    name, annotation = parse_annotation(root / "Annotations" / "toy_0000.xml")[0]
    assert (name, annotation.difficult) == ("dog", True)
    assert annotation.box == pytest.approx((79.1, 0, 288, 140.5))


def test_class_names_are_vocs_20_without_other_classes(root: Path) -> None:
    for k in range(3):
        annotate(root, f"toy_000{k}", f"<object><name>dog</name>{BOX}</object>")
    dataset = open_voc(root, "train", title="t")
    assert dataset.class_names == classes.VOC
    assert dataset[0].labels.tolist() == [classes.VOC.index("dog")]


def test_all_splits_of_a_devkit_have_the_same_class_names(root: Path) -> None:
    annotate(root, "toy_0000", f"<object><name>dog</name>{BOX}</object>")
    annotate(root, "toy_0001", f"<object><name>robot</name>{BOX}</object>")
    annotate(root, "toy_0002", "")
    (root / "Annotations" / "broken.xml").write_text("<")
    (root / "ImageSets" / "Main" / "val.txt").write_text("toy_0000\n")
    for split in ("train", "val"):
        assert open_voc(root, split, title="t").class_names == ("dog", "robot")


def test_class_names_are_those_of_classes_txt(root: Path) -> None:
    (root / "classes.txt").write_text("background\nsquare\nell\ncross\n")
    dataset = open_voc(root, "train", title="t")
    assert dataset.class_names == ("square", "ell", "cross")
    assert dataset[0].labels.tolist() == [2 - k for k in synthetic_data.draw(3)[0].labels]


def test_unknown_class_names_are_errors_of_their_sample(root: Path) -> None:
    (root / "classes.txt").write_text("square\nell\ncross\n")
    annotate(root, "toy_0001", f"<object><name>blob</name>{BOX}</object>")
    dataset = open_voc(root, "train", title="t")
    assert len(dataset[0].labels) > 0
    with pytest.raises(UnknownClassError, match=r"toy_0001\.xml: expected classes of .*classes\.txt, got 'blob'; add"):
        dataset[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation><object>", "not well-formed XML"),
        ('<!DOCTYPE a [<!ENTITY x "xx">]><annotation>&x;</annotation>', "entities and DTDs are refused"),
        ("<annotation><object><name>dog</name></object></annotation>", "expected numbers for xmin ymin xmax ymax"),
        (f"<annotation><object>{BOX}</object></annotation>", "object 1: expected a name, got none"),
        (
            f"<annotation><object><name>dog</name>{BOX.replace('288', 'nan')}</object></annotation>",
            "expected pixel coordinates, got",
        ),
        ("<annotation>" + " " * (5 << 20) + "</annotation>", "expected at most 4,194,304 bytes"),
    ],
)
def test_broken_annotations_are_errors_of_their_sample(text: str, message: str, root: Path) -> None:
    (root / "Annotations" / "toy_0001.xml").write_text(text)
    dataset = open_voc(root, "train", title="t")
    assert list(dataset.errors) == [1]
    assert dataset[0].id == "toy_0000"
    with pytest.raises(DataError, match=message):
        dataset[1]
    with pytest.raises(DataError, match=message):
        require_no_errors(dataset)


def test_missing_annotations_and_missing_masks_are_not_annotated(root: Path) -> None:
    for path in ("Annotations/toy_0001.xml", "Annotations/toy_0002.xml", "SegmentationClass/toy_0000.png"):
        (root / path).unlink()
    (root / "SegmentationClass" / "toy_0002.png").unlink()
    dataset = open_voc(root, "train", title="t")
    assert dataset[0].class_map() is None
    assert not dataset[0].annotated_mask_classes.any()
    assert dataset[1].mask is not None
    assert not dataset[1].annotated_box_classes.any()
    assert dataset.unlabeled == {2}
    assert not dataset[2].annotated_box_classes.any()


def test_a_listed_id_without_image_and_annotation_is_an_error(root: Path) -> None:
    (root / "ImageSets" / "Main" / "train.txt").write_text("toy_0000\nnothing\n")
    dataset = open_voc(root, "train", title="t")
    with pytest.raises(DataError, match=r"nothing\.xml: expected a file, got a path that does not exist"):
        dataset[1]


def test_several_errors_are_counted(root: Path) -> None:
    for k in range(2):
        (root / "Annotations" / f"toy_000{k}.xml").write_text("")
    with pytest.raises(DataError, match=r"toy_0000.*\(and 1 more; `blitznet data check` lists them\)"):
        require_no_errors(open_voc(root, "train", title="t"))


def test_splits(root: Path) -> None:
    (root / "ImageSets" / "Segmentation").mkdir()
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("toy_0002 1\n\ntoy_0002 1\n")
    assert open_voc(root, "val", title="t").ids == ("toy_0002",)
    (root / "ImageSets" / "Main" / "val.txt").write_text("toy_0001\n")
    assert open_voc(root, "val", title="t").ids == ("toy_0001",)
    assert open_voc(root, "Segmentation/val", title="t").ids == ("toy_0002",)
    (root / "ImageSets" / "SegmentationAug").mkdir()
    (root / "ImageSets" / "SegmentationAug" / "train.txt").write_text("toy_0000\n")
    assert open_voc(root, "SegmentationAug/train", title="t").ids == ("toy_0000",)
    expected = (
        "no split 'Segmentation/train'; splits here: Main/train, Main/val, Segmentation/val, SegmentationAug/train"
    )
    with pytest.raises(DataError, match=expected):
        open_voc(root, "Segmentation/train", title="t")
    with pytest.raises(DataError, match="there is no split 'test'; splits here: train, val; write voc:"):
        open_voc(root, "test", title="t")
    with pytest.raises(DataError, match="expected a split; splits here: train, val"):
        open_voc(root, None, title="t")
    with pytest.raises(DataError, match="expected a VOC devkit with folders ImageSets"):
        open_voc(root / "JPEGImages", "train", title="t")


def test_ids_may_contain_spaces_and_class_flags_are_stripped(root: Path) -> None:
    for suffix, folder in ((".png", "JPEGImages"), (".xml", "Annotations"), (".png", "SegmentationClass")):
        (root / folder / f"toy_0000{suffix}").rename(root / folder / f"my image{suffix}")
        (root / folder / f"toy_0001{suffix}").rename(root / folder / f"street 1{suffix}")
    lists = root / "ImageSets" / "Main"
    (lists / "train.txt").write_text("my image\nstreet 1\r\ntoy_0002 \n")
    (lists / "dog_train.txt").write_text("my image  1\nstreet 1 -1\ntoy_0002  0\n")
    for split in ("train", "dog_train"):
        dataset = open_voc(root, split, title="t")
        assert dataset.ids == ("my image", "street 1", "toy_0002")
        assert not dataset.errors
        assert Path(dataset.image_paths[0]).name == "my image.png"
        np.testing.assert_array_equal(dataset[1].class_map(), synthetic_data.draw(3)[1].class_map)


def test_an_id_that_ends_as_a_class_list_does_is_known_by_its_image_or_its_annotation(root: Path) -> None:
    (root / "ImageSets" / "Main" / "train.txt").write_text("toy_0000 0\ntoy_0001 1\ntoy_0002 1\n")
    (root / "JPEGImages" / "toy_0000.png").rename(root / "JPEGImages" / "toy_0000 0.png")
    (root / "Annotations" / "toy_0001.xml").rename(root / "Annotations" / "toy_0001 1.xml")
    assert open_voc(root, "train", title="t").ids == ("toy_0000 0", "toy_0001 1", "toy_0002")


def test_two_images_of_one_name_are_refused_in_the_split(root: Path) -> None:
    synthetic_data.write_image(root / "JPEGImages" / "toy_0001.JPG", synthetic_data.draw(1)[0])
    with pytest.raises(DataError, match=r"toy_0001\.JPG: .* got also toy_0001\.png; .* .* remove one"):
        open_voc(root, "train", title="t")
    (root / "ImageSets" / "Main" / "train.txt").write_text("toy_0000\ntoy_0002\n")
    assert len(open_voc(root, "train", title="t")) == 2


def test_another_folder_of_masks(root: Path) -> None:
    synthetic_data.write_mask(root / "SegmentationClassAug" / "toy_0001.png", np.full((96, 120), 2, np.uint8))
    dataset = open_voc(root, "train", title="t", masks=("SegmentationClassAug",))
    class_map = dataset[1].class_map()
    assert class_map is not None
    assert (class_map == 2).all()
    assert dataset[0].mask is None
    with pytest.raises(
        DataError,
        match="expected a folder of masks, got a path that does not exist; "
        "folders here: Annotations, ImageSets, JPEGImages",
    ):
        open_voc(root, "train", title="t", masks=("Masks",))


def test_masks_of_several_folders_and_none(root: Path) -> None:
    synthetic_data.write_mask(root / "SegmentationClassAug" / "toy_0000.png", np.full((96, 120), 2, np.uint8))
    synthetic_data.write_mask(root / "SegmentationClassAug" / "toy_0001.png", np.full((96, 120), 2, np.uint8))
    (root / "SegmentationClass" / "toy_0001.png").unlink()
    (root / "SegmentationClass" / "toy_0002.png").unlink()
    dataset = open_voc(root, "train", title="t", masks=("SegmentationClass", "SegmentationClassAug"))
    first, second, third = (dataset[k].class_map() for k in range(3))
    np.testing.assert_array_equal(first, synthetic_data.draw(3)[0].class_map)
    assert second is not None
    assert (second == 2).all()
    assert third is None
    no_masks = open_voc(root, "train", title="t", masks=())
    assert all(no_masks[k].mask is None and not no_masks[k].annotated_mask_classes.any() for k in range(3))
    assert no_masks[0].annotated_box_classes.all()


def test_mask_fraction_selects_nested_subsets(root: Path) -> None:
    def ids_with_mask(fraction: float) -> set[str]:
        dataset = open_voc(root, "train", title="t", mask_fraction=fraction)
        samples = [dataset[k] for k in range(len(dataset))]
        assert all(sample.annotated_box_classes.all() for sample in samples)
        return {sample.id for sample in samples if sample.mask is not None}

    synthetic_data.write_voc(root, synthetic_data.draw(20, size=(40, 48)))
    all_ids = ids_with_mask(1.0)
    assert len(all_ids) == 20
    assert ids_with_mask(0) == set()
    assert 4 < len(ids_with_mask(0.5)) < 16
    assert ids_with_mask(0.5) < all_ids
    assert ids_with_mask(0.2) <= ids_with_mask(0.5)
    assert ids_with_mask(0.5) == ids_with_mask(0.5)


def test_names_of_vocs_20_that_never_occur_are_no_classes_without_masks(root: Path) -> None:
    for k in range(3):
        annotate(root, f"toy_000{k}", f"<object><name>{('dog', 'cat', 'dog')[k]}</name>{BOX}</object>")
    for path in (root / "SegmentationClass").iterdir():
        path.unlink()
    assert open_voc(root, "train", title="t").class_names == ("cat", "dog")


@pytest.mark.parametrize("suffix", [".png", ".xml", ""])
@pytest.mark.parametrize("folder", ["", "JPEGImages/"])
def test_lines_of_a_list_may_have_suffixes_and_folders(suffix: str, folder: str, root: Path) -> None:
    (root / "ImageSets" / "Main" / "train.txt").write_text(f"{folder}toy_0001{suffix}\n")
    dataset = open_voc(root, "train", title="t")
    assert dataset.ids == ("toy_0001",)
    assert len(dataset[0].labels)


@pytest.mark.parametrize("encoding", ["ISO-8859-1", "gb2312", "utf-16", "utf-8"])
def test_the_declared_encoding_is_used(encoding: str, root: Path) -> None:
    name = "\u732b" if encoding == "gb2312" else "\xe9lan"
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?><annotation><object><name>{name}</name>{BOX}</object></annotation>'
    )
    (root / "Annotations" / "toy_0000.xml").write_bytes(text.encode(encoding))
    assert parse_annotation(root / "Annotations" / "toy_0000.xml")[0][0] == name


@pytest.mark.parametrize(
    ("images", "xmls", "split"),
    [
        (".", ".", None),
        ("images", "annotations", None),
        ("images", "Annotations", None),
        ("JPEGImages", "Annotations", None),
        ("images", "images", None),
        ("train", "train", "train"),
        ("valid/images", "valid/annotations", "val"),
    ],
)
def test_images_and_xml_files_without_lists(images: str, xmls: str, split: str | None, tmp_path: Path) -> None:
    drawings = synthetic_data.draw(3)
    synthetic_data.write_voc(tmp_path / "source", drawings)
    for drawing in drawings:
        for folder, name in ((images, f"JPEGImages/{drawing.id}.png"), (xmls, f"Annotations/{drawing.id}.xml")):
            (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / "source" / name).rename(tmp_path / "set" / folder / Path(name).name)
    dataset = open_voc(tmp_path / "set", split, title="t")
    assert not dataset.errors
    assert dataset.class_names == synthetic_data.NAMES
    for index, drawing in enumerate(drawings):
        sample = dataset[index]
        assert sample.image.size() == (96, 120)
        assert sample.labels.tolist() == drawing.labels.tolist()
        np.testing.assert_allclose(sample.boxes, drawing.boxes, atol=0.01)


def test_an_image_without_an_xml_file_is_not_annotated(tmp_path: Path) -> None:
    drawings = synthetic_data.draw(2)
    synthetic_data.write_voc(tmp_path, drawings)
    for path in (tmp_path / "ImageSets", tmp_path / "SegmentationClass"):
        shutil.rmtree(path)
    (tmp_path / "Annotations" / "toy_0001.xml").unlink()
    dataset = open_voc(tmp_path, None, title="t")
    assert dataset.unlabeled == {1}
    assert not dataset[1].annotated_box_classes.any()


def test_the_image_of_an_xml_file_of_another_name_is_its_filename(tmp_path: Path) -> None:
    drawing = synthetic_data.draw(1)[0]
    synthetic_data.write_image(tmp_path / "a b.png", drawing)
    text = f"<annotation><filename>a b.png</filename><object><name>x</name>{BOX}</object></annotation>"
    (tmp_path / "label.xml").write_text(text)
    dataset = open_voc(tmp_path, None, title="t")
    assert dataset.ids == ("label",)
    assert dataset.image_paths == (str(tmp_path / "a b.png"),)


def test_masks_of_colors_are_read_by_labelmap_txt(tmp_path: Path) -> None:
    drawings = synthetic_data.draw(3)
    synthetic_data.write_voc(tmp_path, drawings)
    shutil.rmtree(tmp_path / "Annotations")
    colors = {"background": (0, 0, 0), "square": (250, 50, 83), "cross": (10, 20, 30), "ell": (1, 1, 1)}
    lines = ["# label:color_rgb:parts:actions", *(f"{n}:{r},{g},{b}::" for n, (r, g, b) in colors.items())]
    (tmp_path / "labelmap.txt").write_text("\n".join(lines))
    table = np.asarray([colors[name] for name in ("background", *synthetic_data.NAMES)], np.uint8)
    for drawing in drawings:
        Image.fromarray(table[drawing.class_map]).save(tmp_path / "SegmentationClass" / f"{drawing.id}.png")
    dataset = open_voc(tmp_path, "train", title="t")
    assert dataset.class_names == ("square", "cross", "ell")
    order = np.asarray([0, 2, 3, 1], np.uint8)
    for index, drawing in enumerate(drawings):
        np.testing.assert_array_equal(dataset[index].class_map(), order[drawing.class_map])


def test_devkits_with_masks_only_have_no_boxes(root: Path) -> None:
    for path in (root / "Annotations").iterdir():
        path.unlink()
    (root / "Annotations").rmdir()
    dataset = open_voc(root, "train", title="t")
    assert not dataset[0].annotated_box_classes.any()
    assert dataset[0].mask is not None


def test_a_copied_xml_file_does_not_take_the_image_of_the_first_one(tmp_path: Path) -> None:
    synthetic_data.write_image(tmp_path / "a.png", synthetic_data.draw(1)[0])
    for name in ("a", "b"):
        text = f"<annotation><filename>a.png</filename><object><name>x</name>{BOX}</object></annotation>"
        (tmp_path / f"{name}.xml").write_text(text)
    assert open_voc(tmp_path, None, title="t").image_paths == (str(tmp_path / "a.png"), str(tmp_path / "b.jpg"))


@pytest.mark.parametrize("folders", [("images", "annotations"), ("x", "x")])
def test_images_and_xml_files_in_folders_of_folders_are_read(folders: tuple[str, str], tmp_path: Path) -> None:
    for name in ("a", "day2/b", "day2/late/c"):
        synthetic_data.write_image(tmp_path / folders[0] / f"{name}.png", synthetic_data.draw(1)[0])
        path = tmp_path / folders[1] / f"{name}.XML"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"<annotation><object><name>x</name>{BOX}</object></annotation>")
    dataset = open_voc(tmp_path, None, title="t")
    prefix = "x/" if folders[0] == "x" else ""
    assert dataset.ids == (f"{prefix}a", f"{prefix}day2/b", f"{prefix}day2/late/c")
    assert not dataset.unlabeled


@pytest.mark.parametrize("text", ["1", " True "])
def test_difficult_may_be_a_word(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(f"<annotation><object><name>x</name><difficult>{text}</difficult>{BOX}</object></annotation>")
    assert parse_annotation(path)[0][1].difficult
