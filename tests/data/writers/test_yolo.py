"""The YOLO writer."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blitznet.data.convert import convert_dataset, count_unsupported
from blitznet.data.writers.yolo import YoloWriter
from support import synthetic_data
from support.conversions import (
    CROWD,
    DIFFICULT,
    OTHER_BOX,
    RUN_LENGTHS,
    TWO_POLYGONS,
    assert_same_dataset,
    open_text,
    polygon,
    write_annotations,
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(polygon(), max_size=3), min_size=1, max_size=3))
def test_coco_to_yolo_to_coco_keeps_single_polygons(images: list[list[list[float]]]) -> None:
    annotations = [
        [
            {"category_id": 1 + k, "segmentation": [points], "iscrowd": 0, "bbox": _extent(points)}
            for k, points in enumerate(polygons)
        ]
        for polygons in images
    ]
    with TemporaryDirectory() as folder:
        root = Path(folder)
        before = write_annotations(root / "a", annotations)
        assert not convert_dataset(before, "yolo", root / "b", "train")
        yolo = open_text(f"yolo:{root / 'b'}@train")
        assert not convert_dataset(yolo, "coco", root / "c", "train")
        assert_same_dataset(before, open_text(f"coco:{root / 'c'}@train"), exact=False)


def _extent(points: list[float]) -> list[float]:
    x, y = min(points[::2]), min(points[1::2])
    return [x, y, max(points[::2]) - x, max(points[1::2]) - y]


@pytest.mark.parametrize(
    ("item", "unsupported"),
    [
        (CROWD, ["crowds"]),
        (TWO_POLYGONS, ["outlines of several polygons; their boxes are kept"]),
        (RUN_LENGTHS, ["outlines as run lengths, which may have holes; their boxes are kept"]),
        (OTHER_BOX, ["boxes that differ from the extent of their outlines"]),
        (DIFFICULT, ["the flag `difficult`"]),
    ],
)
def test_unsupported_annotations(item: dict[str, Any], unsupported: list[str], tmp_path: Path) -> None:
    dataset = write_annotations(tmp_path / "a", [[item], []])
    writer = YoloWriter(tmp_path / "b", "train", dataset.class_names)
    assert list(count_unsupported(dataset, writer)) == unsupported


@pytest.mark.parametrize("split", ["val", "valid", "validation"])
def test_the_yaml_file_names_an_evaluation_split_as_ultralytics_does(split: str, tmp_path: Path) -> None:
    source = open_text(synthetic_data.write_coco(tmp_path / "coco", synthetic_data.draw(2)))
    convert_dataset(source, "yolo", tmp_path / "yolo", split, lossy=True)
    lines = (tmp_path / "yolo" / "data.yaml").read_text().splitlines()
    assert f"val: images/{split}" in lines
    assert len(open_text(f"yolo:{tmp_path / 'yolo'}@{split}")) == 2
