"""Drawing on images: boxes with labels, class maps, for what was seen and for what is true.

Everything scales with the picture, and keeps its contrast on light and on dark: lines stand on a dark rim,
label text is black or white by what lies under it. A class has one colour, for its boxes and its pixels.
"""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from blitznet.core.arrays import IGNORE_INDEX, Boxes, ClassMap, Flags, Labels, RGBArray, Scores, require_shape
from blitznet.core.classes import palette
from blitznet.core.errors import BlitzNetError
from blitznet.core.sample import Sample

Color = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]

GREY: Color = (160, 160, 160)
"""of what is void, and of crowds"""
_RIM: Color = (0, 0, 0)
_LUMA = np.array([0.299, 0.587, 0.114])
"""how bright red, green and blue look"""
_DARKEST = 0.42
"""of a class' colour, 0 black, 1 white"""
_ALPHA = 0.45
"""how much of a class' colour covers its pixels"""
_VOID_ALPHA = 0.7
"""how much of grey covers the stripes of what is void"""
_COVER = np.full(256, round(255 * _ALPHA), np.uint8)
"""how much of its colour covers a pixel of each value of a class map, of 255"""
_COVER[[0, IGNORE_INDEX]] = 0


@dataclass(frozen=True, slots=True)
class BoxMark:
    """One box to draw: x1 y1 x2 y2 in pixels of the picture."""

    box: Rectangle
    text: str
    colour: Color
    dashed: bool = False


class DrawableResult(Protocol):
    """What `annotate` draws; `Result` has it."""

    @property
    def boxes(self) -> Boxes:
        """(N, 4) x1 y1 x2 y2, pixels."""
        ...

    @property
    def scores(self) -> Scores:
        """(N,)."""
        ...

    @property
    def labels(self) -> Labels:
        """(N,) indices into `class_names`."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """K class names."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image."""
        ...

    @property
    def class_map(self) -> ClassMap | None:
        """(H, W), or None to draw boxes only."""
        ...


def annotate(image: RGBArray, result: DrawableResult, ids: Sequence[int] = ()) -> RGBArray:
    """The image (H, W, 3) with all of the result on it: class map, boxes, labels such as `dog 0.93`.

    Draws every detection there is: choose with `result.filter(min_score=score)` before. ids: of tracks, one for each detection
    where there are any, in the label as `dog 3 0.93`; those below 1 are not shown.
    """
    require_shape(image, (*result.size, 3), name="image")
    shown = [f" {number}" if number > 0 else "" for number in ids] if len(ids) else [""] * len(result.scores)
    marks = [
        BoxMark(_rectangle(box), f"{result.class_names[label]}{number} {score:.2f}", class_color(int(label)))
        for box, label, score, number in zip(result.boxes, result.labels, result.scores, shown, strict=True)
    ]
    return draw(image, marks, result.class_map)


def annotate_sample(sample: Sample, names: tuple[str, ...]) -> RGBArray:
    """The sample's image (H, W, 3) with its truth: crowds dashed and grey, void hatched."""
    marks = truth_marks(sample.boxes, sample.labels, sample.crowd, names, difficult=sample.difficult)
    return draw(sample.image.read(), marks, sample.class_map())


def truth_marks(
    boxes: Boxes, labels: Labels, crowd: Flags, names: tuple[str, ...], *, difficult: Flags | None = None
) -> list[BoxMark]:
    """How true boxes (M, 4), pixels of the picture, are drawn."""
    hard = np.zeros_like(crowd) if difficult is None else difficult
    marks = []
    for box, label, many, dim in zip(boxes, labels, crowd, hard, strict=True):
        if many:  # its label may be of a class the model does not have
            marks.append(BoxMark(_rectangle(box), "crowd", GREY, dashed=True))
        else:
            text = f"{names[label]} (difficult)" if dim else names[label]
            marks.append(BoxMark(_rectangle(box), text, class_color(int(label))))
    return marks


def draw(image: RGBArray, marks: list[BoxMark], class_map: ClassMap | None = None) -> RGBArray:
    """A copy of the image (H, W, 3) with the class map (H, W) laid over it and the marks on top, the first on all."""
    line = max(2, round(max(image.shape[:2]) / 250))
    laid = image if class_map is None else _lay_map(image, class_map, line)
    picture = Pillow.fromarray(laid)
    pen = ImageDraw.Draw(picture)
    for mark in reversed(marks):
        _frame(pen, mark, line)
    places = _places(pen, marks, picture.size)
    for mark, place in reversed(list(zip(marks, places, strict=True))):
        _tag(pen, mark, place)
    return np.array(picture)


def palette_png(class_map: ClassMap) -> Pillow.Image:
    """The class map (H, W) as an image of mode P with VOC's colours: the pixel values are the classes."""
    require_shape(class_map, (None, None), name="class map")
    if class_map.dtype != np.uint8:
        raise BlitzNetError(f"class map: expected uint8, got {class_map.dtype}")
    picture = Pillow.fromarray(class_map)
    picture.putpalette(palette().tobytes())
    return picture


@lru_cache(maxsize=256)
def class_color(label: int) -> Color:
    """A vivid colour: hues a golden section apart, so that neighbours differ however many classes there are."""
    hue = (0.02 + label * 0.618034) % 1
    saturation, value = ((0.85, 1.0), (0.6, 1.0), (0.9, 0.8))[label % 3]
    colour = np.array(colorsys.hsv_to_rgb(hue, saturation, value))
    light = float(colour @ _LUMA)
    if light < _DARKEST:  # blues and violets, which vanish on dark images: lightened with white
        colour += (1 - colour) * (_DARKEST - light) / (1 - light)
    red, green, blue = (round(255 * float(part)) for part in colour)
    return red, green, blue


@lru_cache(maxsize=32)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font at this height in pixels."""
    return ImageFont.load_default(size)


def _rectangle(box: NDArray[np.float32]) -> Rectangle:
    x1, y1, x2, y2 = (float(side) for side in box)
    return x1, y1, x2, y2


@lru_cache(maxsize=1)
def _colour_table() -> RGBArray:
    """(256, 3) colour of each value of a class map."""
    return np.array([GREY, *(class_color(value - 1) for value in range(1, IGNORE_INDEX)), GREY], np.uint8)


def _lay_map(image: RGBArray, class_map: ClassMap, line: int) -> RGBArray:
    """Classes as a tint with a contour, void as grey stripes, background as it is."""
    require_shape(class_map, image.shape[:2], name="class map")
    cover = _COVER[class_map]
    cover[_contour(class_map, line)] = 255
    if (class_map == IGNORE_INDEX).any():
        cover[_stripes(class_map, line)] = round(255 * _VOID_ALPHA)
    tint = Pillow.fromarray(class_map)
    tint.putpalette(_colour_table().tobytes())
    laid = Pillow.composite(tint.convert("RGB"), Pillow.fromarray(image), Pillow.fromarray(cover))
    return np.asarray(laid)


def _contour(class_map: ClassMap, line: int) -> NDArray[np.bool_]:
    """(H, W) the pixels of a class along its border, `line` pixels wide."""
    edge = np.zeros(class_map.shape, np.bool_)
    for a, b in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = class_map[a] != class_map[b]
        edge[a] |= differs
        edge[b] |= differs
    for _ in range(line // 2 if line > 2 else 0):
        edge = _wider(_wider(edge).T).T
    return np.asarray(edge & (class_map > 0) & (class_map < IGNORE_INDEX), np.bool_)


def _wider(edge: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What is set, and the rows (H, W) above and below it."""
    wide = edge.copy()
    wide[1:] |= edge[:-1]
    wide[:-1] |= edge[1:]
    return wide


def _stripes(class_map: ClassMap, line: int) -> NDArray[np.bool_]:
    """(H, W) every third diagonal of what is void."""
    rows, columns = np.ogrid[: class_map.shape[0], : class_map.shape[1]]
    return np.asarray((class_map == IGNORE_INDEX) & ((rows + columns) // (line + 1) % 3 == 0), np.bool_)


def _frame(pen: ImageDraw.ImageDraw, mark: BoxMark, line: int) -> None:
    x1, y1, x2, y2 = mark.box
    if mark.dashed:
        for start, end in _dashes(mark.box, 6 * line):
            pen.line([start, end], fill=_RIM, width=line + 2)
            pen.line([start, end], fill=mark.colour, width=line)
        return
    inner, outer = (x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), (x1 - 1, y1 - 1, max(x1, x2), max(y1, y2))
    pen.rectangle(outer, outline=_RIM, width=line + 2)
    pen.rectangle(inner, outline=mark.colour, width=line)


def _dashes(box: Rectangle, length: int) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Segments along the four sides, as long as the gaps between them."""
    x1, y1, x2, y2 = box
    across = [(x, min(x + length, x2)) for x in np.arange(x1, x2, 2 * length)]
    down = [(y, min(y + length, y2)) for y in np.arange(y1, y2, 2 * length)]
    level = [((a, y), (b, y)) for a, b in across for y in (y1, y2 - 1)]
    upright = [((x, a), (x, b)) for a, b in down for x in (x1, x2 - 1)]
    return level + upright


def _tag_font(picture: tuple[int, int]) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return font(max(11, round(max(picture) / 34)))


def _places(pen: ImageDraw.ImageDraw, marks: list[BoxMark], picture: tuple[int, int]) -> list[Rectangle]:
    """Where the labels go: above the box, inside it or below it, whichever is free first and in the picture."""
    taken: list[Rectangle] = []
    height = pen.textbbox((0, 0), "Åg", font=_tag_font(picture))[3] + 4  # the same for every text
    for mark in marks:
        width = pen.textlength(mark.text, font=_tag_font(picture)) + 6
        x1, y1, _, y2 = mark.box
        x = max(0.0, min(x1, picture[0] - width))
        tries = [(x, y, x + width, y + height) for y in (y1 - height, y1, y2, y2 - height)]
        inside = [place for place in tries if place[1] >= 0 and place[3] <= picture[1]] or [tries[1]]
        taken.append(next((place for place in inside if not any(_meet(place, t) for t in taken)), inside[0]))
    return taken


def _meet(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _tag(pen: ImageDraw.ImageDraw, mark: BoxMark, place: Rectangle) -> None:
    bright = float(np.asarray(mark.colour) @ _LUMA) > 128
    pen.rectangle((place[0], place[1], place[2] - 1, place[3] - 1), fill=mark.colour, outline=_RIM)
    text_font = _tag_font(pen.im.size)
    ink = (0, 0, 0) if bright else (255, 255, 255)
    pen.text((place[0] + 3, place[1] + 2), mark.text, fill=ink, font=text_font)
