"""Contact sheets: many small images with titles in one image."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw

from blitznet.core.arrays import IGNORE_INDEX, Boxes, ClassMap, Flags, Labels, RGBArray
from blitznet.core.errors import BlitzNetError
from blitznet.drawing.annotate import draw, resize_class_map, truth_marks
from blitznet.drawing.text import draw_text, text_width

Tile = tuple[str, RGBArray]
"""title and image (h, w, 3)"""

_GAP, _TITLE_HEIGHT, _FONT_SIZE = 10, 24, 14
_BACKGROUND, _TEXT_COLOR = (28, 30, 34), (232, 232, 232)


class DrawableExample(Protocol):
    """What `example_tile` draws: an augmented training example, such as a `TrainSample`."""

    @property
    def id(self) -> str:
        """Id in its dataset."""
        ...

    @property
    def image(self) -> RGBArray:
        """(h, w, 3) uint8, at the network's input size."""
        ...

    @property
    def boxes(self) -> Boxes:
        """(M, 4) x1 y1 x2 y2, fractions of the image."""
        ...

    @property
    def labels(self) -> Labels:
        """(M,) class ids."""
        ...

    @property
    def crowd(self) -> Flags:
        """(M,) boxes of crowds."""
        ...

    @property
    def class_map(self) -> ClassMap:
        """(mh, mw) 0 background, label + 1, 255 ignored; its size may differ from the image's."""
        ...

    @property
    def annotated_box_classes(self) -> Flags:
        """(K,) classes whose boxes are annotated."""
        ...

    @property
    def annotated_mask_classes(self) -> Flags:
        """(K,) classes whose pixels are annotated."""
        ...


def example_tile(example: DrawableExample, class_names: tuple[str, ...]) -> Tile:
    """Draw the ground truth on a training example; the title lists what is not annotated."""
    height, width = example.image.shape[:2]
    boxes = np.asarray(example.boxes * np.array([width, height, width, height]), np.float32)
    marks = truth_marks(boxes, example.labels, example.crowd, class_names)
    if (example.class_map == IGNORE_INDEX).all():
        class_map = None
    else:
        class_map = resize_class_map(example.class_map, (height, width))
    return f"{example.id}{_missing_annotations(example)}", draw(example.image, marks, class_map)


def contact_sheet(tiles: Sequence[Tile], columns: int) -> RGBArray:
    """Arrange tiles row by row in one image.

    Args:
        tiles: Titles and images; cells are as wide as the widest image.
        columns: Tiles in a row.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        BlitzNetError: There are no tiles or columns.
    """
    if not tiles or columns < 1:
        raise BlitzNetError(
            f"contact sheet: expected at least 1 tile and 1 column, got {len(tiles)} tiles and {columns} columns"
        )
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    cell_width = max(image.shape[1] for _, image in tiles) + _GAP
    row_heights = [max(image.shape[0] for _, image in row) + _TITLE_HEIGHT + _GAP for row in rows]
    sheet = Image.new("RGB", (len(rows[0]) * cell_width + _GAP, sum(row_heights) + _GAP), _BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    for index, row in enumerate(rows):
        top = _GAP + sum(row_heights[:index])
        for column, (title, image) in enumerate(row):
            left = _GAP + column * cell_width
            draw_text(pen, (left, top + 2), _shorten(title, cell_width - _GAP), _FONT_SIZE, _TEXT_COLOR)
            sheet.paste(Image.fromarray(image), (left, top + _TITLE_HEIGHT))
    return np.array(sheet)


def _missing_annotations(example: DrawableExample) -> str:
    """Which annotations are incomplete, for a title: `, no mask, boxes of 1 class`."""
    notes = [_incomplete("boxes", example.annotated_box_classes), _incomplete("mask", example.annotated_mask_classes)]
    return "".join(f", {note}" for note in notes if note)


def _incomplete(annotation: str, classes: Flags) -> str:
    count = int(classes.sum())
    if count == len(classes):
        return ""
    return f"{annotation} of {count} {'class' if count == 1 else 'classes'}" if count else f"no {annotation}"


def _shorten(title: str, width: int) -> str:
    """Cut the start of a title to fit into `width` pixels; paths differ at the end."""
    if text_width(title, _FONT_SIZE) <= width:
        return title
    while title and text_width(f"…{title}", _FONT_SIZE) > width:
        title = title[1:]
    return f"…{title}"
