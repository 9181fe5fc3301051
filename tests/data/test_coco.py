"""The COCO reader."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blitznet.core.errors import DataError
from blitznet.core.sample import Sample
from blitznet.data.coco import open_coco
from blitznet.data.dataset import UnknownClassError
from support import synthetic_data

Content = dict[str, Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    synthetic_data.write_coco(tmp_path, synthetic_data.draw(4))
    return tmp_path


def read_train(root: Path) -> list[Sample]:
    """All samples of the split `train`."""
    dataset = open_coco(root, "train", title="t")
    return [dataset[index] for index in range(len(dataset))]


def edit_json(root: Path, edit: Callable[[Content], object]) -> None:
    path = root / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_class_names_are_in_order_of_category_ids(root: Path) -> None:
    assert open_coco(root, "train", title="t").class_names == synthetic_data.NAMES


def test_images_may_be_in_images_split(root: Path) -> None:
    (root / "images").mkdir()
    (root / "train").rename(root / "images" / "train")
    assert open_coco(root, "train", title="t")[0].image.size() == (96, 120)


def test_a_dataset_without_outlines_has_no_masks(tmp_path: Path) -> None:
    synthetic_data.write_coco(tmp_path, synthetic_data.draw(4), outlines=False)
    dataset = open_coco(tmp_path, "train", title="t")
    assert all(dataset[k].mask is None and dataset[k].annotated_box_classes.all() for k in range(4))


def test_an_image_without_outlines_has_no_mask(root: Path) -> None:
    def strip(content: Content) -> None:
        for item in content["annotations"]:
            if item["image_id"] == 100:
                item["segmentation"] = []

    edit_json(root, strip)
    dataset = open_coco(root, "train", title="t")
    assert dataset[0].mask is None
    assert not dataset[0].annotated_mask_classes.any()
    assert dataset[1].mask is not None
    empty = dataset[3].class_map()
    assert empty is not None
    assert not empty.any()


def test_crowds_are_ignored(root: Path) -> None:
    edit_json(root, lambda content: content["annotations"][0].update(iscrowd=1))
    sample = open_coco(root, "train", title="t")[0]
    assert sample.crowd.tolist() == [True] + [False] * (len(sample.labels) - 1)
    class_map = sample.class_map()
    assert class_map is not None
    assert (class_map == 255).any()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"category_id": 6}, "annotation 1: expected a category_id of `categories`, got 6"),
        ({"bbox": [1, 2, 3]}, "annotation 1: expected bbox as four numbers"),
        ({"bbox": [1, 2, 3, float("nan")]}, "annotation 1: expected bbox in pixels"),
        ({"bbox": [1, 2, 3, 10**400]}, "expected bbox as four numbers"),
        ({"category_id": [5]}, "expected a category_id of `categories`"),
        ({"segmentation": {"counts": [[1], [2]]}}, "expected segmentation as polygons"),
        ({"segmentation": [["a", 2]]}, "expected segmentation as polygons"),
        ({"segmentation": [[1, 2, 3]]}, "expected segmentation as polygons"),
        (
            {"segmentation": {"counts": "oooooooooooooo"}},
            "annotation 1: expected COCO's compressed RLE",
        ),
        ({"segmentation": {"size": [1, 2]}}, "expected segmentation as polygons"),
    ],
)
def test_broken_annotations_are_errors_of_their_sample(edit: Content, message: str, root: Path) -> None:
    edit_json(root, lambda content: content["annotations"][0].update(edit))
    dataset = open_coco(root, "train", title="t")
    assert list(dataset.errors) == [0]
    assert dataset[1].id == "toy_0001"
    with pytest.raises(UnknownClassError if "category_id" in edit else DataError, match=message):
        dataset[0]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.pop("images"), "expected a list 'images' of objects"),
        (lambda c: c["annotations"][0].update(image_id=1), "annotation 1: expected an image_id of `images`, got 1"),
        (lambda c: c["images"][1].update(id=100), "expected unique image ids"),
        (lambda c: c["images"][0].pop("file_name"), "image 100: expected a file_name, got none"),
        (lambda c: c["images"][0].update(id=1.5), "expected a whole number as id, got 1.5"),
        (lambda c: c["annotations"][0].update(image_id="100"), "expected an image_id of `images`, got 100"),
        (lambda c: c["images"].clear(), "expected images, got an empty list"),
        (lambda c: c["categories"][0].pop("name"), "expected an id and a name for every category"),
        (lambda c: c["categories"][0].update(name="ell"), "expected unique category ids and names"),
    ],
)
def test_broken_files_are_refused(edit: Callable[[Content], object], message: str, root: Path) -> None:
    edit_json(root, edit)
    with pytest.raises(DataError, match=message):
        open_coco(root, "train", title="t")


@pytest.mark.parametrize(
    ("image_ids", "category_ids"), [((1.0, 2.0), (1, 2, 3)), (("a", "b"), ("1", "2", "3")), ((7, 8), (1.0, 2.0, 3.0))]
)
def test_ids_are_numbers_or_texts(image_ids: tuple[Any, ...], category_ids: tuple[Any, ...], tmp_path: Path) -> None:
    drawings = synthetic_data.draw(2)
    synthetic_data.write_coco(tmp_path, drawings)

    def edit(content: Content) -> None:
        images = {item["id"]: new for item, new in zip(content["images"], image_ids, strict=True)}
        categories = {
            item["id"]: new
            for item, new in zip(sorted(content["categories"], key=lambda c: c["id"]), category_ids, strict=True)
        }
        for item in content["annotations"]:
            item.update(image_id=images[item["image_id"]], category_id=categories[item["category_id"]])
        for item in content["images"]:
            item["id"] = images[item["id"]]
        for item in content["categories"]:
            item["id"] = categories[item["id"]]

    edit_json(tmp_path, edit)
    dataset = open_coco(tmp_path, "train", title="t")
    assert [len(dataset[k].labels) for k in range(2)] == [len(drawing.labels) for drawing in drawings]
    assert dataset.class_names == synthetic_data.NAMES


@pytest.mark.parametrize("width", [None, "8.5x", 0])
def test_an_image_without_a_stated_size_has_that_of_its_file(width: object, root: Path) -> None:
    edit_json(root, lambda content: content["images"][0].update(width=width))
    class_map = open_coco(root, "train", title="t")[0].class_map()
    assert class_map is not None
    assert class_map.shape == (96, 120)


@pytest.mark.parametrize(
    ("group", "dropped"),
    [
        ({"id": 0, "name": "shapes", "supercategory": "none"}, True),
        ({"id": 0, "name": "square", "supercategory": "none"}, True),  # the project has the name of a class
        ({"id": 0, "name": "_background_", "supercategory": None}, True),
        ({"id": 0, "name": "circle", "supercategory": "none"}, False),
    ],
)
def test_a_category_that_groups_others_is_no_class(group: Content, *, dropped: bool, root: Path) -> None:
    def edit(content: Content) -> None:
        for item in content["categories"]:
            item["supercategory"] = "square" if group["name"] == "square" else "shapes"
        content["categories"].append(group)

    edit_json(root, edit)
    names = open_coco(root, "train", title="t").class_names
    assert names == (synthetic_data.NAMES if dropped else ("circle", *synthetic_data.NAMES))


@pytest.mark.parametrize(
    ("json_path", "image_folder", "file_name", "root_name", "split"),
    [
        ("train/_annotations.coco.json", "train", "{}", "", "train"),
        ("valid/_annotations.coco.json", "valid", "{}", "", "val"),
        ("annotations/instances_train.json", "images", "images/{}", "", "train"),
        ("annotations/custom_train.json", "train2017", "{}", "", "train"),
        ("annotations/instances_minival2014.json", "val2014", "{}", "", "minival2014"),
        ("annotations/instances_default.json", "images", "{}", "", None),
        ("annotations.json", ".", "{}", "", "annotations"),
        ("result.json", "images", "images/{}", "result.json", None),
        ("result.json", "images", "..\\..\\media\\upload\\4\\{}", "", "result"),
        ("result.json", "deep/folder", "/home/someone/else/{}", "", None),
        ("annotations/a.json", "images", "{}", "annotations/a.json", None),
        ("train.json", "images", "/data/local-files/?d=images/{}", "", "train"),
    ],
)
def test_files_and_images_are_where_tools_leave_them(
    json_path: str, image_folder: str, file_name: str, root_name: str, split: str | None, tmp_path: Path
) -> None:
    drawings = synthetic_data.draw(2)
    synthetic_data.write_coco(tmp_path / "source", drawings)
    content = json.loads((tmp_path / "source/annotations/instances_train.json").read_text())
    root = tmp_path / "set"
    for image in content["images"]:
        path = root / image_folder / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / "train" / image["file_name"]).rename(path)
        image["file_name"] = file_name.format(image["file_name"])
    (root / json_path).parent.mkdir(parents=True, exist_ok=True)
    (root / json_path).write_text(json.dumps(content))
    dataset = open_coco(root / root_name, split, title="t")
    assert [dataset[k].image.size() for k in range(2)] == [(96, 120)] * 2


def test_missing_splits_and_other_files_are_refused(root: Path) -> None:
    with pytest.raises(
        DataError, match=r"no annotations/instances_val\.json; splits here: train; JSON files here: annotations"
    ):
        open_coco(root, "val", title="t")
    for text, message in [("{", "expected a JSON file"), ("[]", "got a list"), ("[" * 100_000, "expected a JSON file")]:
        (root / "annotations" / "instances_train.json").write_text(text)
        with pytest.raises(DataError, match=message):
            open_coco(root, "train", title="t")


def test_entries_of_one_file_are_joined(root: Path) -> None:
    """An entry for each annotation would teach that the objects of the other entries are background."""
    dataset = open_coco(root, "train", title="t")
    first, second = dataset[0], dataset[1]

    def edit(content: Content) -> None:
        content["images"][1]["file_name"] = f"./{content['images'][0]['file_name']}"

    edit_json(root, edit)
    joined = open_coco(root, "train", title="t")
    assert len(joined) == len(dataset) - 1
    assert joined[0].boxes.tolist() == [*first.boxes.tolist(), *second.boxes.tolist()]
    assert joined[1].id == dataset[2].id
    assert joined[1].boxes.tolist() == dataset[2].boxes.tolist()
    assert joined.remarks == {"images listed several times, joined": ("toy_0000.png",)}


@pytest.mark.parametrize("value", ["0", "false", False, 0.0, None])
def test_flags_may_be_texts(value: object, root: Path) -> None:
    edit_json(root, lambda c: [item.update(iscrowd=value, ignore=value) for item in c["annotations"]])
    sample = open_coco(root, "train", title="t")[0]
    assert not sample.crowd.any()
    assert not sample.difficult.any()
    edit_json(root, lambda c: [item.update(iscrowd="1") for item in c["annotations"]])
    assert open_coco(root, "train", title="t")[0].crowd.all()


def test_run_lengths_of_another_size_are_refused(root: Path) -> None:
    """Width and height in the wrong order have the same number of pixels."""

    def edit(content: Content) -> None:
        for item in content["annotations"]:
            if isinstance(item["segmentation"], dict):
                item["segmentation"]["size"].reverse()

    edit_json(root, edit)
    errors = open_coco(root, "train", title="t").errors
    assert errors
    assert "expected size [96, 120], height and width of the image, got [120, 96]" in str(next(iter(errors.values())))


def test_run_lengths_that_do_not_fill_the_image_are_errors_when_the_file_is_opened(root: Path) -> None:
    edit_json(root, lambda c: c["annotations"][0].update(segmentation={"size": [96, 120], "counts": [100, 10]}))
    with pytest.raises(DataError, match="segmentation: expected run lengths of 11,520 pixels in all"):
        open_coco(root, "train", title="t")[0]


def test_a_box_may_be_that_of_the_outline(root: Path) -> None:
    boxes = [sample.boxes.tolist() for sample in read_train(root)]
    for text in ("null", "[]"):
        edit_json(root, lambda c, text=text: [item.update(bbox=json.loads(text)) for item in c["annotations"]])  # type: ignore[misc] # bound to this text
        assert [sample.boxes.tolist() for sample in read_train(root)] == boxes


def test_a_polygon_need_not_be_in_a_list(root: Path) -> None:
    maps = [sample.class_map() for sample in read_train(root)]

    def edit(content: Content) -> None:
        for item in content["annotations"]:
            if isinstance(item["segmentation"], list):
                item["segmentation"] = item["segmentation"][0]

    edit_json(root, edit)
    for expected, sample in zip(maps, read_train(root), strict=True):
        np.testing.assert_array_equal(sample.class_map(), expected)


def test_an_image_of_another_split_never_stands_in(tmp_path: Path) -> None:
    for split in ("train", "val"):
        synthetic_data.write_coco(tmp_path, synthetic_data.draw(2), split)
    missing = tmp_path / "train" / "toy_0000.png"
    missing.unlink()
    assert open_coco(tmp_path, "train", title="t").image_paths[0] == str(missing)
    for path in (tmp_path / "train").iterdir():
        path.unlink()
    (tmp_path / "train").rmdir()  # two lists of the images in one folder
    assert open_coco(tmp_path, "train", title="t").image_paths[0] == str(tmp_path / "val" / "toy_0000.png")
