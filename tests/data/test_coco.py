"""The COCO reader."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blitznet.core.errors import DataError
from blitznet.data.coco import open_coco
from blitznet.data.dataset import UnknownClassError
from support import synthetic_data

Content = dict[str, Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    synthetic_data.write_coco(tmp_path, synthetic_data.draw(4))
    return tmp_path


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
        (lambda c: c["images"][0].update(width="8"), "expected width and height"),
        (lambda c: c["categories"][0].pop("name"), "expected an id and a name for every category"),
        (lambda c: c["categories"][0].update(name="ell"), "expected unique category ids and names"),
    ],
)
def test_broken_files_are_refused(edit: Callable[[Content], object], message: str, root: Path) -> None:
    edit_json(root, edit)
    with pytest.raises(DataError, match=message):
        open_coco(root, "train", title="t")


def test_missing_splits_and_other_files_are_refused(root: Path) -> None:
    with pytest.raises(DataError, match=r"no annotations/instances_val\.json; splits here: train; write coco:"):
        open_coco(root, "val", title="t")
    for text, message in [("{", "expected a JSON file"), ("[]", "got a list"), ("[" * 100_000, "expected a JSON file")]:
        (root / "annotations" / "instances_train.json").write_text(text)
        with pytest.raises(DataError, match=message):
            open_coco(root, "train", title="t")
