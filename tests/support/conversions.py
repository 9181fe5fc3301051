"""Datasets for tests of writers: random COCO annotations, and comparison of two datasets."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from blitznet.core.sample import Sample
from blitznet.data.dataset import IndexedDataset
from blitznet.data.masks import RasterizedMask
from blitznet.data.sources import open_dataset, parse_source

NAMES = ("person", "bicycle", "my own")
SIZE = (12, 16)
PIXELS = SIZE[0] * SIZE[1]

CROWD = {"category_id": 1, "bbox": [0, 0, 4, 4], "iscrowd": 1, "segmentation": {"size": [12, 16], "counts": [0, 192]}}
TWO_POLYGONS = {
    "category_id": 2,
    "bbox": [0, 0, 9, 9],
    "iscrowd": 0,
    "segmentation": [[0, 0, 4, 0, 4, 4], [5, 5, 9, 5, 9, 9]],
}
OTHER_BOX = {"category_id": 2, "bbox": [0, 0, 9, 9], "iscrowd": 0, "segmentation": [[0, 0, 4, 0, 4, 4]]}
RUN_LENGTHS = {
    "category_id": 2,
    "bbox": [0, 0, 9, 9],
    "iscrowd": 0,
    "segmentation": {"size": [12, 16], "counts": [9, 183]},
}
DIFFICULT = {"category_id": 3, "bbox": [0, 0, 9, 9], "iscrowd": 0, "ignore": 1}


def open_text(text: str) -> IndexedDataset:
    """The dataset of a dataset string."""
    return open_dataset(parse_source(text))


@st.composite
def polygon(draw: st.DrawFn) -> list[float]:
    """Coordinates x y x y ... of three to seven points."""
    points = draw(st.lists(st.tuples(st.floats(0, 16, width=32), st.floats(0, 12, width=32)), min_size=3, max_size=7))
    return [value for point in points for value in point]


@st.composite
def run_lengths(draw: st.DrawFn) -> dict[str, Any]:
    """Any set of pixels as COCO's run lengths."""
    pixels = np.asarray(draw(st.lists(st.booleans(), min_size=PIXELS, max_size=PIXELS)))
    edges = np.flatnonzero(np.diff(pixels.astype(np.int8), prepend=0)).tolist()
    return {"size": list(SIZE), "counts": np.diff([0, *edges, PIXELS]).tolist()}


ANY_OUTLINE = (lambda: st.lists(polygon(), min_size=1, max_size=3), run_lengths)


@st.composite
def annotation(draw: st.DrawFn, outlines: tuple[Callable[[], st.SearchStrategy[Any]], ...]) -> dict[str, Any]:
    """One COCO annotation with or without one of these outlines."""
    x, y = draw(st.floats(0, 10, width=32)), draw(st.floats(0, 8, width=32))
    item: dict[str, Any] = {
        "category_id": draw(st.integers(1, len(NAMES))),
        "bbox": [x, y, draw(st.floats(1, 6, width=32)), draw(st.floats(1, 4, width=32))],
        "iscrowd": 0,
    }
    outline = draw(st.one_of(st.none(), *(make() for make in outlines)))
    if outline is not None:
        item["segmentation"] = outline
        item["iscrowd"] = int(isinstance(outline, dict) and draw(st.booleans()))
    if draw(st.booleans()):
        item["ignore"] = 1
    return item


def write_annotations(root: Path, images: list[list[dict[str, Any]]]) -> IndexedDataset:
    """A COCO dataset of blank images with these annotations."""
    (root / "train").mkdir(parents=True)
    (root / "annotations").mkdir()
    numbered: list[dict[str, Any]] = []
    for index, items in enumerate(images):
        Image.new("RGB", SIZE[::-1]).save(root / "train" / f"{index}.png")
        numbered += [
            {"id": len(numbered) + number, "image_id": index, "area": 1.0} | item
            for number, item in enumerate(items, 1)
        ]
    content = {
        "images": [{"id": k, "file_name": f"{k}.png", "height": SIZE[0], "width": SIZE[1]} for k in range(len(images))],
        "annotations": numbered,
        "categories": [{"id": k, "name": name} for k, name in enumerate(NAMES, 1)],
    }
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    return open_text(f"coco:{root}@train")


def samples(dataset: IndexedDataset) -> list[Sample]:
    """All samples of a dataset."""
    return [dataset[index] for index in range(len(dataset))]


def assert_same_dataset(expected: IndexedDataset, actual: IndexedDataset, *, exact: bool = True) -> None:
    """Compare images, boxes, flags and outlines of two datasets; with `exact` also class maps."""
    assert (actual.class_names, actual.ids, len(actual)) == (expected.class_names, expected.ids, len(expected))
    for old, new in zip(samples(expected), samples(actual), strict=True):
        compare = np.testing.assert_array_equal if exact else lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3)
        compare(old.boxes, new.boxes)
        for field in ("labels", "difficult", "crowd", "annotated_box_classes", "annotated_mask_classes"):
            np.testing.assert_array_equal(getattr(old, field), getattr(new, field))
        assert Path(old.image.name).read_bytes() == Path(new.image.name).read_bytes()
        if isinstance(old.mask, RasterizedMask):
            assert isinstance(new.mask, RasterizedMask)
            for old_item, new_item in zip(old.mask.objects, new.mask.objects, strict=True):
                assert (old_item.value, len(old_item.polygons)) == (new_item.value, len(new_item.polygons))
                for old_polygon, new_polygon in zip(old_item.polygons, new_item.polygons, strict=True):
                    compare(old_polygon, new_polygon)
                np.testing.assert_array_equal(old_item.runs, new_item.runs)
        if exact:
            np.testing.assert_array_equal(old.class_map(), new.class_map())
