"""Contact sheets: many small pictures under their titles, in one."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from blitznet.core.arrays import IGNORE_INDEX, Boxes, ClassMap, Flags, Labels, RGBArray
from blitznet.core.errors import BlitzNetError
from blitznet.drawing.annotate import draw, font, truth_marks

Tile = tuple[str, RGBArray]
"""a title and a picture (h, w, 3)"""

_GAP, _TITLE, _TEXT = 10, 24, 14
_PAPER, _INK = (28, 30, 34), (232, 232, 232)


class Shown(Protocol):
    """What can become a tile: a image at the network's size with its truth, as the data room makes it."""

    @property
    def id(self) -> str:
        """Its name in its data set."""
        ...

    @property
    def image(self) -> RGBArray:
        """(h, w, 3)."""
        ...

    @property
    def boxes(self) -> Boxes:
        """(M, 4) fractions of the image."""
        ...

    @property
    def labels(self) -> Labels:
        """(M,)."""
        ...

    @property
    def crowd(self) -> Flags:
        """(M,)."""
        ...

    @property
    def class_map(self) -> ClassMap:
        """(mh, mw)."""
        ...

    @property
    def box_classes(self) -> Flags:
        """(K,)."""
        ...

    @property
    def mask_classes(self) -> Flags:
        """(K,)."""
        ...


def example_tile(example: Shown, names: tuple[str, ...]) -> Tile:
    """The example as the network is fed it, its truth drawn on; the title says what was not annotated."""
    height, width = example.image.shape[:2]
    pixels = np.asarray(example.boxes * np.array([width, height, width, height]), np.float32)
    marks = truth_marks(pixels, example.labels, example.crowd, names)
    class_map = None if (example.class_map == IGNORE_INDEX).all() else _enlarged(example.class_map, (height, width))
    return f"{example.id}{_notes(example)}", draw(example.image, marks, class_map)


def contact_sheet(tiles: Sequence[Tile], columns: int) -> RGBArray:
    """One picture (H, W, 3) of all tiles, row by row, in cells as wide as the widest."""
    if not tiles or columns < 1:
        raise BlitzNetError(f"contact sheet: expected tiles and columns, got {len(tiles)} and {columns}")
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    wide = max(image.shape[1] for _, image in tiles) + _GAP
    heights = [max(image.shape[0] for _, image in row) + _TITLE + _GAP for row in rows]
    sheet = Pillow.new("RGB", (len(rows[0]) * wide + _GAP, sum(heights) + _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for index, row in enumerate(rows):
        top = _GAP + sum(heights[:index])
        for column, (title, image) in enumerate(row):
            left = _GAP + column * wide
            pen.text((left, top + 2), _shortened(pen, title, wide - _GAP), fill=_INK, font=font(_TEXT))
            sheet.paste(Pillow.fromarray(image), (left, top + _TITLE))
    return np.array(sheet)


def _notes(example: Shown) -> str:
    """What a reader of the picture has to know of the annotation: `, no mask, boxes of 1 class`."""
    notes = [_note("boxes", example.box_classes), _note("mask", example.mask_classes)]
    return "".join(f", {note}" for note in notes if note)


def _note(what: str, classes: Flags) -> str:
    count = int(classes.sum())
    if count == len(classes):
        return ""
    return f"{what} of {count} {'class' if count == 1 else 'classes'}" if count else f"no {what}"


def _enlarged(class_map: ClassMap, size: tuple[int, int]) -> ClassMap:
    """The class map at the image's size (h, w), its cells as squares."""
    picture = Pillow.fromarray(class_map).resize((size[1], size[0]), Pillow.Resampling.NEAREST)
    return np.array(picture)


def _shortened(pen: ImageDraw.ImageDraw, title: str, width: int) -> str:
    """The title as it fits into `width` pixels: its end is kept, since paths differ there."""
    if pen.textlength(title, font=font(_TEXT)) <= width:
        return title
    while title and pen.textlength(f"…{title}", font=font(_TEXT)) > width:
        title = title[1:]
    return f"…{title}"
