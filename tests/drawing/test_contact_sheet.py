from dataclasses import dataclass, field

import numpy as np
import pytest

from blitznet.core.arrays import Boxes, ClassMap, Flags, Labels, RGBArray
from blitznet.core.classes import VOC
from blitznet.core.errors import BlitzNetError
from blitznet.drawing.annotate import class_color
from blitznet.drawing.contact_sheet import contact_sheet, example_tile


def flags(*labels: int) -> Flags:
    return np.isin(np.arange(20), labels)


@dataclass(frozen=True)
class ExampleStub:
    """A training example."""

    id: str = "2008_000008"
    image: RGBArray = field(default_factory=lambda: np.full((150, 200, 3), 128, np.uint8))
    boxes: Boxes = field(default_factory=lambda: np.array([[0.25, 0.4, 0.75, 0.9]], np.float32))
    labels: Labels = field(default_factory=lambda: np.array([11]))
    crowd: Flags = field(default_factory=lambda: np.zeros(1, bool))
    class_map: ClassMap = field(default_factory=lambda: np.full((30, 40), 255, np.uint8))
    annotated_box_classes: Flags = field(default_factory=lambda: flags(*range(20)))
    annotated_mask_classes: Flags = field(default_factory=lambda: flags(*range(20)))


@pytest.mark.parametrize(
    ("boxes", "masks", "title"),
    [
        (tuple(range(20)), tuple(range(20)), "2008_000008"),
        (tuple(range(20)), (), "2008_000008, no mask"),
        ((), (6, 14), "2008_000008, no boxes, mask of 2 classes"),
        ((13,), (), "2008_000008, boxes of 1 class, no mask"),
    ],
)
def test_title_lists_missing_annotations(boxes: tuple[int, ...], masks: tuple[int, ...], title: str) -> None:
    assert (
        example_tile(ExampleStub(annotated_box_classes=flags(*boxes), annotated_mask_classes=flags(*masks)), VOC)[0]
        == title
    )


def test_tile_shows_boxes_and_class_map() -> None:
    class_map = np.zeros((30, 40), np.uint8)
    class_map[:10, 30:] = 12
    tile = example_tile(ExampleStub(class_map=class_map), VOC)[1]
    assert tile.shape == (150, 200, 3)
    assert (tile[134, 100] == class_color(11)).all()  # lower edge of the box: 0.9 x 150
    assert (tile[20, 170] != 128).any()  # tinted
    assert (tile[145, 20] == 128).all()


def test_class_map_of_ignored_pixels_only_is_not_drawn() -> None:
    assert (example_tile(ExampleStub(), VOC)[1][145, :40] == 128).all()


def test_contact_sheet_arranges_tiles_row_by_row() -> None:
    tiles = [(f"tile {value}", np.full((40 + value, 60, 3), value, np.uint8)) for value in (10, 20, 30, 40, 50)]
    sheet = contact_sheet(tiles, 2)
    assert sheet.shape == (3 * (24 + 10) + 60 + 80 + 90 + 10, 2 * 70 + 10, 3)
    for value in (10, 20, 30, 40, 50):
        assert (sheet == value).all(-1).sum() >= (40 + value) * 60
    rows, columns = np.nonzero((sheet == 40).all(-1))
    assert columns.min() == 80
    assert rows.min() == 10 + 24 + (60 + 34)
    assert sheet[10:34].max() > 200  # the titles


def test_long_titles_are_shortened() -> None:
    tile = np.zeros((30, 50, 3), np.uint8)
    sheet = contact_sheet([("a/very/long/path/to/the/image.jpg", tile)], 8)
    assert sheet.shape == (30 + 24 + 20, 70, 3)
    assert (sheet[10:34, 62:] == sheet[0, 0]).all()  # the title stays above its tile


@pytest.mark.parametrize(("count", "columns"), [(0, 3), (2, 0)])
def test_empty_contact_sheet_is_refused(count: int, columns: int) -> None:
    tiles = [("", np.zeros((4, 4, 3), np.uint8))] * count
    with pytest.raises(
        BlitzNetError,
        match=f"contact sheet: expected at least 1 tile and 1 column, got {count} tiles and {columns} columns",
    ):
        contact_sheet(tiles, columns)
