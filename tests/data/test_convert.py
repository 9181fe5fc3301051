"""Sets written in another format: out and back is the same, and what a format cannot hold is told, not dropped."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from faster_coco_eval import COCO
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from blitznet.core.errors import DataError, UsageError
from blitznet.core.sample import Sample
from blitznet.data.convert import WRITERS, convert, losses
from blitznet.data.dataset import IndexedDataset
from blitznet.data.masks import RasterizedMask
from blitznet.data.sources import open_dataset, parse_source
from blitznet.data.writers.coco import category_ids
from support import synthetic_data

NAMES = ("person", "bicycle", "my own")
SIZE = (12, 16)


def opened(text: str) -> IndexedDataset:
    return open_dataset(parse_source(text))


@st.composite
def polygon(draw: st.DrawFn) -> list[float]:
    points = draw(st.lists(st.tuples(st.floats(0, 16, width=32), st.floats(0, 12, width=32)), min_size=3, max_size=7))
    return [value for point in points for value in point]


@st.composite
def runs(draw: st.DrawFn) -> dict[str, Any]:
    """A ring, a hole, whatever: any set of pixels, run by run down the columns."""
    pixels = np.asarray(draw(st.lists(st.booleans(), min_size=192, max_size=192)))
    edges = np.flatnonzero(np.diff(pixels.astype(np.int8), prepend=0)).tolist()
    return {"size": list(SIZE), "counts": np.diff([0, *edges, 192]).tolist()}


@st.composite
def annotation(draw: st.DrawFn, outlines: tuple[Callable[[], st.SearchStrategy[Any]], ...]) -> dict[str, Any]:
    x, y = draw(st.floats(0, 10, width=32)), draw(st.floats(0, 8, width=32))
    told: dict[str, Any] = {
        "category_id": draw(st.integers(1, len(NAMES))),
        "bbox": [x, y, draw(st.floats(1, 6, width=32)), draw(st.floats(1, 4, width=32))],
        "iscrowd": 0,
    }
    outline = draw(st.one_of(st.none(), *(make() for make in outlines)))
    if outline is not None:
        told["segmentation"] = outline
        told["iscrowd"] = int(isinstance(outline, dict) and draw(st.booleans()))
    if draw(st.booleans()):
        told["ignore"] = 1
    return told


ALL = (lambda: st.lists(polygon(), min_size=1, max_size=3), runs)


def write_coco(root: Path, images: list[list[dict[str, Any]]]) -> IndexedDataset:
    """A COCO set of blank images with these annotations each."""
    (root / "train").mkdir(parents=True)
    (root / "annotations").mkdir()
    numbered: list[dict[str, Any]] = []
    for index, found in enumerate(images):
        Pillow.new("RGB", SIZE[::-1]).save(root / "train" / f"{index}.png")
        numbered += [{"id": len(numbered) + k, "image_id": index, "area": 1.0} | one for k, one in enumerate(found, 1)]
    content = {
        "images": [{"id": k, "file_name": f"{k}.png", "height": SIZE[0], "width": SIZE[1]} for k in range(len(images))],
        "annotations": numbered,
        "categories": [{"id": k, "name": name} for k, name in enumerate(NAMES, 1)],
    }
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    return opened(f"coco:{root}@train")


def samples(dataset: IndexedDataset) -> list[Sample]:
    return [dataset[index] for index in range(len(dataset))]


def assert_same(before: IndexedDataset, after: IndexedDataset, *, exact: bool = True) -> None:
    """Images, boxes, flags, outlines and class maps."""
    assert (after.class_names, after.ids, len(after)) == (before.class_names, before.ids, len(before))
    for old, new in zip(samples(before), samples(after), strict=True):
        compare = np.testing.assert_array_equal if exact else lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3)
        compare(old.boxes, new.boxes)
        for field in ("labels", "difficult", "crowd", "box_classes", "mask_classes"):
            np.testing.assert_array_equal(getattr(old, field), getattr(new, field))
        assert Path(old.image.name).read_bytes() == Path(new.image.name).read_bytes()
        if isinstance(old.mask, RasterizedMask):
            assert isinstance(new.mask, RasterizedMask)
            for ours, theirs in zip(old.mask.shapes, new.mask.shapes, strict=True):
                assert (ours.value, len(ours.polygons)) == (theirs.value, len(theirs.polygons))
                for one, other in zip(ours.polygons, theirs.polygons, strict=True):
                    compare(one, other)
                np.testing.assert_array_equal(ours.runs, theirs.runs)
        if exact:
            np.testing.assert_array_equal(old.class_map(), new.class_map())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(st.lists(annotation(ALL), max_size=4), min_size=1, max_size=3))
def test_coco_out_and_back_keeps_polygons_holes_runs_and_crowds(images: list[list[dict[str, Any]]]) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        before = write_coco(root / "a", images)
        assert not convert(before, "coco", root / "b", "train")
        assert_same(before, opened(f"coco:{root / 'b'}@train"))
        theirs, ours = (COCO(str(root / name / "annotations" / "instances_train.json")) for name in "ab")
        for first, second in zip(_by_image(theirs), _by_image(ours), strict=True):
            assert first["iscrowd"] == second["iscrowd"]
            if "segmentation" in first:
                pixels = theirs.annToMask(first)
                np.testing.assert_array_equal(pixels, ours.annToMask(second))
                assert second["area"] == pixels.sum()


def _by_image(coco: Any) -> list[dict[str, Any]]:
    return [one for image in sorted(coco.getImgIds()) for one in coco.loadAnns(coco.getAnnIds([image]))]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(polygon(), max_size=3), min_size=1, max_size=3))
def test_through_yolo_and_back(images: list[list[list[float]]]) -> None:
    """What a YOLO line can hold: one polygon, with the box around it."""
    found = [
        [
            {"category_id": 1 + k, "segmentation": [points], "iscrowd": 0, "bbox": _around(points)}
            for k, points in enumerate(outlines)
        ]
        for outlines in images
    ]
    with TemporaryDirectory() as folder:
        root = Path(folder)
        before = write_coco(root / "a", found)
        assert not convert(before, "yolo", root / "b", "train")
        between = opened(f"yolo:{root / 'b'}@train")
        assert not convert(between, "coco", root / "c", "train")
        assert_same(before, opened(f"coco:{root / 'c'}@train"), exact=False)


def _around(points: list[float]) -> list[float]:
    x, y = min(points[::2]), min(points[1::2])
    return [x, y, max(points[::2]) - x, max(points[1::2]) - y]


@pytest.mark.parametrize("to", ["voc", "folder"])
def test_class_maps_stay_what_they_are(tmp_path: Path, to: str) -> None:
    synthetic_data.write_voc(tmp_path / "a", synthetic_data.draw(4, seed=3))
    before = opened(f"voc:{tmp_path / 'a'}@train")
    lost = convert(before, to, tmp_path / "b", "train", lossy=to == "folder")
    assert list(lost) == (["boxes: a folder has class maps only"] if to == "folder" else [])
    after = opened(f"{to}:{tmp_path / 'b'}@train")
    for old, new in zip(samples(before), samples(after), strict=True):
        np.testing.assert_array_equal(old.class_map(), new.class_map())
        if to == "voc":
            np.testing.assert_array_equal(old.boxes, new.boxes)
            np.testing.assert_array_equal(old.difficult, new.difficult)


@pytest.mark.parametrize("to", ["voc", "folder"])
def test_names_with_spaces_out_and_back(tmp_path: Path, to: str) -> None:
    names = ("my image", "street 1", "IMG_1.JPG")
    drawings = [replace(drawing, id=name) for drawing, name in zip(synthetic_data.draw(3, seed=3), names, strict=True)]
    before = opened(synthetic_data.write_voc(tmp_path / "a", drawings))
    convert(before, to, tmp_path / "b", "train", lossy=True)
    between = opened(f"{to}:{tmp_path / 'b'}@train")
    convert(between, to, tmp_path / "c", "train", lossy=True)
    for dataset in (before, between, opened(f"{to}:{tmp_path / 'c'}@train")):
        assert dataset.ids == names
        for sample, drawing in zip(samples(dataset), drawings, strict=True):
            np.testing.assert_array_equal(sample.image.read(), drawing.image)
            np.testing.assert_array_equal(sample.class_map(), drawing.class_map)


def test_coco_painted_for_voc(tmp_path: Path) -> None:
    synthetic_data.write_coco(tmp_path / "a", synthetic_data.draw(3, seed=5))
    before = opened(f"coco:{tmp_path / 'a'}@train")
    lost = convert(before, "voc", tmp_path / "b", "val", lossy=True)
    assert [*lost] == ["outlines: class maps are painted, which do not say which pixels are which object's"]
    for old, new in zip(samples(before), samples(opened(f"voc:{tmp_path / 'b'}@val")), strict=True):
        np.testing.assert_array_equal(old.class_map(), new.class_map())
        np.testing.assert_allclose(old.boxes, new.boxes, atol=1e-4)


CROWD = {"category_id": 1, "bbox": [0, 0, 4, 4], "iscrowd": 1, "segmentation": {"size": [12, 16], "counts": [0, 192]}}
TWO = {"category_id": 2, "bbox": [0, 0, 9, 9], "iscrowd": 0, "segmentation": [[0, 0, 4, 0, 4, 4], [5, 5, 9, 5, 9, 9]]}
OFF = {"category_id": 2, "bbox": [0, 0, 9, 9], "iscrowd": 0, "segmentation": [[0, 0, 4, 0, 4, 4]]}
HOLED = {"category_id": 2, "bbox": [0, 0, 9, 9], "iscrowd": 0, "segmentation": {"size": [12, 16], "counts": [9, 183]}}
HARD = {"category_id": 3, "bbox": [0, 0, 9, 9], "iscrowd": 0, "ignore": 1}


@pytest.mark.parametrize(
    ("one", "to", "lost"),
    [
        (CROWD, "yolo", "crowds"),
        (TWO, "yolo", "outlines of several polygons; the boxes are kept"),
        (HOLED, "yolo", "outlines in runs, with holes; the boxes are kept"),
        (OFF, "yolo", "boxes that are not the ones around their outlines"),
        (HARD, "yolo", "the flag `difficult`"),
        (CROWD, "voc", "crowds: they are void in class maps, and no objects"),
        (HARD, "folder", "boxes: a folder has class maps only"),
    ],
)
def test_what_is_lost_is_told_before_anything_is_written(
    tmp_path: Path, one: dict[str, Any], to: str, lost: str
) -> None:
    dataset = write_coco(tmp_path / "a", [[one], []])
    with pytest.raises(DataError, match=f"{to} would lose .*give --lossy to leave that out") as told:
        convert(dataset, to, tmp_path / "b", "train")
    assert lost in str(told.value)
    assert not (tmp_path / "b").exists()
    assert convert(dataset, to, tmp_path / "b", "train", lossy=True)[lost] >= 1


def test_maps_without_objects_do_not_become_empty_images(tmp_path: Path) -> None:
    synthetic_data.write_folder(tmp_path / "a", synthetic_data.draw(2, seed=1))
    dataset = opened(f"folder:{tmp_path / 'a'}")
    for to in ("coco", "yolo"):
        found = losses(dataset, WRITERS[to](tmp_path / "b", "train", dataset.class_names))
        assert [loss.partition(",")[0].partition(":")[0] for loss in found] == [
            "class maps",
            "that objects were not annotated",
        ]


def test_splits_share_a_folder_and_must_share_their_classes(tmp_path: Path) -> None:
    first = write_coco(tmp_path / "a", [[], []])
    for to in ("yolo", "voc"):
        for split in ("train", "val"):
            convert(first, to, tmp_path / to, split)
            assert len(opened(f"{to}:{tmp_path / to}@{split}")) == 2
        synthetic_data.write_coco(tmp_path / f"other-{to}", synthetic_data.draw(1, seed=0))
        other = opened(f"coco:{tmp_path / f'other-{to}'}@train")
        with pytest.raises(UsageError, match=r"the set there has the classes person, bicycle, my own, this one cross"):
            convert(other, to, tmp_path / to, "test", lossy=True)


def test_links_lead_to_the_images(tmp_path: Path) -> None:
    dataset = write_coco(tmp_path / "a", [[]])
    convert(dataset, "coco", tmp_path / "b", "val", link=True)
    target = tmp_path / "b" / "val" / "0.png"
    assert target.is_symlink()
    assert target.read_bytes() == (tmp_path / "a" / "train" / "0.png").read_bytes()
    convert(dataset, "coco", tmp_path / "b", "val")  # again, over what is there
    assert not target.is_symlink()


def test_images_of_one_name_are_refused(tmp_path: Path) -> None:
    dataset = write_coco(tmp_path / "a", [[], []])
    object.__setattr__(dataset, "ids", ("x/1", "x_1"))
    with pytest.raises(DataError, match=r"1 images would have the name of another, first 'x_1'"):
        convert(dataset, "voc", tmp_path / "b", "train")


def test_a_missing_image_and_an_unknown_format(tmp_path: Path) -> None:
    dataset = write_coco(tmp_path / "a", [[]])
    with pytest.raises(UsageError, match=r"'png': expected a format of coco, voc, yolo, folder"):
        convert(dataset, "png", tmp_path / "b", "train")
    (tmp_path / "a" / "train" / "0.png").unlink()
    with pytest.raises(DataError, match=r"0\.png: there is no such image"):
        convert(dataset, "coco", tmp_path / "b", "train")


def test_ids_of_categories_are_cocos_own_where_they_can_be() -> None:
    assert category_ids(("person", "bicycle", "tv", "toothbrush")) == (1, 2, 72, 90)
    assert category_ids(("bicycle", "person")) == (1, 2)  # labels follow the ids, so these are counted
    assert category_ids(("person", "unicorn")) == (1, 2)


@pytest.mark.parametrize("link", [False, True])
def test_a_set_is_never_written_onto_its_own_images(tmp_path: Path, link: bool) -> None:
    synthetic_data.write_yolo(tmp_path, synthetic_data.draw(2, seed=1))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=r"is the image itself; give another --out than where the set lies$"):
        convert(opened(f"yolo:{tmp_path / 'data.yaml'}@train"), "yolo", tmp_path, "train", link=link)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert not any(path.is_symlink() for path in before)


def test_links_are_made_anew(tmp_path: Path) -> None:
    synthetic_data.write_yolo(tmp_path / "old", synthetic_data.draw(2, seed=1))
    for _ in range(2):
        convert(opened(f"yolo:{tmp_path / 'old'}@train"), "yolo", tmp_path / "new", "train", link=True)
    links = [path for path in (tmp_path / "new").rglob("*") if path.is_symlink()]
    assert len(links) == 2
    assert all(path.is_file() for path in links)
