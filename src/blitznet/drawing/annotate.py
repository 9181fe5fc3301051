"""Draw boxes with labels and class maps, of predictions and of ground truth.

Line width and font size scale with the image. Lines have a dark rim, and a label's text is black or white, so both
are visible on any image. Boxes and pixels of a class have the same color.
"""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from blitznet.core.arrays import IGNORE_INDEX, Boxes, ClassMap, Flags, Labels, RGBArray, Scores, Size, require_shape
from blitznet.core.classes import palette
from blitznet.core.errors import BlitzNetError
from blitznet.core.sample import Sample

Color = tuple[int, int, int]
"""RGB"""
Rectangle = tuple[float, float, float, float]
"""x1 y1 x2 y2, pixels"""

GRAY: Color = (160, 160, 160)
"""color of ignored pixels and of crowds"""
_RIM: Color = (0, 0, 0)
_LUMA = np.array([0.299, 0.587, 0.114])
"""weights of red, green and blue in the brightness (ITU-R BT.601)"""
_MIN_LUMA = 0.42
"""minimum brightness of a class color, 0 black to 1 white"""
_ALPHA = 0.45
"""opacity of the class map"""
_IGNORED_ALPHA = 0.7
"""opacity of the stripes on ignored pixels"""
_OPACITY = np.full(256, round(255 * _ALPHA), np.uint8)
"""opacity, 0..255, of each value of a class map"""
_OPACITY[[0, IGNORE_INDEX]] = 0


@dataclass(frozen=True, slots=True)
class BoxMark:
    """One box to draw."""

    box: Rectangle
    text: str
    color: Color
    dashed: bool = False


class DrawableResult(Protocol):
    """What `annotate` draws, such as a `Result`."""

    @property
    def boxes(self) -> Boxes:
        """(N, 4) x1 y1 x2 y2, pixels."""
        ...

    @property
    def scores(self) -> Scores:
        """(N,) 0..1."""
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


def annotate(image: RGBArray, result: DrawableResult, track_ids: Sequence[int] = ()) -> RGBArray:
    """Draw a result on its image: class map, boxes, labels such as `dog 0.93`.

    All detections are drawn; call `result.filter(min_score=...)` first to draw fewer.

    Args:
        image: (H, W, 3) uint8 RGB; it is not changed.
        result: Prediction for this image.
        track_ids: (N,) ids from a tracker, drawn as `dog 3 0.93`; ids below 1 are not shown. Default: none.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        BlitzNetError: The image has another size than the result.
    """
    require_shape(image, (*result.size, 3), name="image")
    tracks = [f" {track_id}" if track_id > 0 else "" for track_id in track_ids]
    marks = [
        BoxMark(_rectangle(box), f"{result.class_names[label]}{track} {score:.2f}", class_color(int(label)))
        for box, label, score, track in zip(
            result.boxes, result.labels, result.scores, tracks or [""] * len(result.scores), strict=True
        )
    ]
    return draw(image, marks, result.class_map)


def annotate_sample(sample: Sample, class_names: tuple[str, ...]) -> RGBArray:
    """Draw the ground truth on a sample's image (H, W, 3): crowds dashed and gray, ignored pixels striped."""
    marks = truth_marks(sample.boxes, sample.labels, sample.crowd, class_names, difficult=sample.difficult)
    return draw(sample.image.read(), marks, sample.class_map())


def truth_marks(
    boxes: Boxes, labels: Labels, crowd: Flags, class_names: tuple[str, ...], *, difficult: Flags | None = None
) -> list[BoxMark]:
    """Marks of ground-truth boxes (M, 4) in pixels."""
    difficult = np.zeros_like(crowd) if difficult is None else difficult
    marks = []
    for box, label, is_crowd, is_difficult in zip(boxes, labels, crowd, difficult, strict=True):
        if is_crowd:  # its label may be of a class that the model does not have
            marks.append(BoxMark(_rectangle(box), "crowd", GRAY, dashed=True))
        else:
            text = f"{class_names[label]} (difficult)" if is_difficult else class_names[label]
            marks.append(BoxMark(_rectangle(box), text, class_color(int(label))))
    return marks


def draw(image: RGBArray, marks: Sequence[BoxMark], class_map: ClassMap | None = None) -> RGBArray:
    """Draw a class map (H, W) and marks on a copy of an image (H, W, 3); the first mark is on top."""
    line_width = max(2, round(max(image.shape[:2]) / 250))
    background = image if class_map is None else _overlay_class_map(image, class_map, line_width)
    canvas = Image.fromarray(background)
    pen = ImageDraw.Draw(canvas)
    for mark in reversed(marks):
        _draw_box(pen, mark, line_width)
    labels = _place_labels(pen, marks, canvas.size)
    for mark, rectangle in reversed(list(zip(marks, labels, strict=True))):
        _draw_label(pen, mark, rectangle)
    return np.array(canvas)


def palette_png(class_map: ClassMap) -> Image.Image:
    """A class map (H, W) as a Pillow image of mode P with VOC's palette; its pixel values are the classes."""
    require_shape(class_map, (None, None), name="class map")
    if class_map.dtype != np.uint8:
        raise BlitzNetError(f"class map: expected uint8, got {class_map.dtype}")
    image = Image.fromarray(class_map)
    image.putpalette(palette().tobytes())
    return image


def resize_class_map(class_map: ClassMap, size: Size) -> ClassMap:
    """Resize a class map (h, w) to (H, W) by nearest neighbor."""
    return np.array(Image.fromarray(class_map).resize((size[1], size[0]), Image.Resampling.NEAREST))


@lru_cache(maxsize=256)
def class_color(label: int) -> Color:
    """A vivid color for each class; hues of consecutive labels differ by the golden ratio, for any number of them."""
    hue = (0.02 + label * 0.618034) % 1
    saturation, value = ((0.85, 1.0), (0.6, 1.0), (0.9, 0.8))[label % 3]
    color = np.array(colorsys.hsv_to_rgb(hue, saturation, value))
    luma = float(color @ _LUMA)
    if luma < _MIN_LUMA:  # blue and violet are hard to see on dark images: mix with white
        color += (1 - color) * (_MIN_LUMA - luma) / (1 - luma)
    red, green, blue = (round(255 * float(channel)) for channel in color)
    return red, green, blue


@lru_cache(maxsize=32)
def load_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's default font with a height of `size` pixels."""
    return ImageFont.load_default(size)


def _rectangle(box: NDArray[np.float32]) -> Rectangle:
    x1, y1, x2, y2 = (float(coordinate) for coordinate in box)
    return x1, y1, x2, y2


@lru_cache(maxsize=1)
def _class_map_palette() -> RGBArray:
    """(256, 3) color of each value of a class map."""
    return np.array([GRAY, *(class_color(value - 1) for value in range(1, IGNORE_INDEX)), GRAY], np.uint8)


def _overlay_class_map(image: RGBArray, class_map: ClassMap, line_width: int) -> RGBArray:
    """Tint classes and outline them; stripes on ignored pixels; background unchanged."""
    require_shape(class_map, image.shape[:2], name="class map")
    opacity = _OPACITY[class_map]
    opacity[_contour(class_map, line_width)] = 255
    if (class_map == IGNORE_INDEX).any():
        opacity[_stripes(class_map, line_width)] = round(255 * _IGNORED_ALPHA)
    tint = Image.fromarray(class_map)
    tint.putpalette(_class_map_palette().tobytes())
    blended = Image.composite(tint.convert("RGB"), Image.fromarray(image), Image.fromarray(opacity))
    return np.asarray(blended)


def _contour(class_map: ClassMap, line_width: int) -> NDArray[np.bool_]:
    """Pixels (H, W) of classes along their borders, `line_width` wide."""
    edge = np.zeros(class_map.shape, np.bool_)
    for a, b in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = class_map[a] != class_map[b]
        edge[a] |= differs
        edge[b] |= differs
    for _ in range(line_width // 2 if line_width > 2 else 0):
        edge = _dilate_rows(_dilate_rows(edge).T).T
    return np.asarray(edge & (class_map > 0) & (class_map < IGNORE_INDEX), np.bool_)


def _dilate_rows(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Dilate a mask (H, W) by one row above and below."""
    dilated = mask.copy()
    dilated[1:] |= mask[:-1]
    dilated[:-1] |= mask[1:]
    return dilated


def _stripes(class_map: ClassMap, line_width: int) -> NDArray[np.bool_]:
    """Ignored pixels (H, W) on every third diagonal stripe."""
    rows, columns = np.ogrid[: class_map.shape[0], : class_map.shape[1]]
    return np.asarray((class_map == IGNORE_INDEX) & ((rows + columns) // (line_width + 1) % 3 == 0), np.bool_)


def _draw_box(pen: ImageDraw.ImageDraw, mark: BoxMark, line_width: int) -> None:
    x1, y1, x2, y2 = mark.box
    if mark.dashed:
        for start, end in _dashes(mark.box, 6 * line_width):
            pen.line([start, end], fill=_RIM, width=line_width + 2)
            pen.line([start, end], fill=mark.color, width=line_width)
        return
    inner, outer = (x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), (x1 - 1, y1 - 1, max(x1, x2), max(y1, y2))
    pen.rectangle(outer, outline=_RIM, width=line_width + 2)
    pen.rectangle(inner, outline=mark.color, width=line_width)


def _dashes(box: Rectangle, length: int) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Line segments along the four edges, as long as the gaps between them."""
    x1, y1, x2, y2 = box
    x_spans = [(x, min(x + length, x2)) for x in np.arange(x1, x2, 2 * length)]
    y_spans = [(y, min(y + length, y2)) for y in np.arange(y1, y2, 2 * length)]
    horizontal = [((start, y), (stop, y)) for start, stop in x_spans for y in (y1, y2 - 1)]
    vertical = [((x, start), (x, stop)) for start, stop in y_spans for x in (x1, x2 - 1)]
    return horizontal + vertical


def _label_font(canvas_size: tuple[int, int]) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return load_font(max(11, round(max(canvas_size) / 34)))


def _place_labels(pen: ImageDraw.ImageDraw, marks: Sequence[BoxMark], canvas_size: tuple[int, int]) -> list[Rectangle]:
    """Rectangles of the labels on a canvas of (W, H): the first that is inside it and free.

    Above the box, inside at its top, below it, inside at its bottom.
    """
    placed: list[Rectangle] = []
    font = _label_font(canvas_size)
    height = pen.textbbox((0, 0), "Åg", font=font)[3] + 4  # the same for every text
    for mark in marks:
        width = pen.textlength(mark.text, font=font) + 6
        x1, y1, _, y2 = mark.box
        x = max(0.0, min(x1, canvas_size[0] - width))
        candidates = [(x, y, x + width, y + height) for y in (y1 - height, y1, y2, y2 - height)]
        inside = [c for c in candidates if c[1] >= 0 and c[3] <= canvas_size[1]] or [candidates[1]]
        placed.append(next((c for c in inside if not any(_overlap(c, label) for label in placed)), inside[0]))
    return placed


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _draw_label(pen: ImageDraw.ImageDraw, mark: BoxMark, rectangle: Rectangle) -> None:
    x1, y1, x2, y2 = rectangle
    is_bright = float(np.asarray(mark.color) @ _LUMA) > 128
    pen.rectangle((x1, y1, x2 - 1, y2 - 1), fill=mark.color, outline=_RIM)
    text_color = (0, 0, 0) if is_bright else (255, 255, 255)
    pen.text((x1 + 3, y1 + 2), mark.text, fill=text_color, font=_label_font(pen.im.size))
