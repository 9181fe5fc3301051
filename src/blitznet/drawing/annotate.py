"""Draw boxes with labels and class maps, of predictions and of ground truth.

Line width and font size follow the shorter side of the image, and a label is at most a tenth of it high. Lines have a
dark rim, and a label's text is black or white, so both are visible on any image. Boxes and pixels of a class have the
same color. Labels never overlap: one without a free position is left out, as are labels that would cover the objects of
a tiny image.
"""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from blitznet.core.arrays import IGNORE_INDEX, Boxes, ClassMap, Flags, Labels, RGBArray, Scores, Size, require_shape
from blitznet.core.classes import palette
from blitznet.core.errors import BlitzNetError
from blitznet.core.image import ImageLike, ImageSource
from blitznet.core.sample import Sample
from blitznet.drawing.text import draw_text, text_height, text_width

Color = tuple[int, int, int]
"""RGB"""
Rectangle = tuple[float, float, float, float]
"""x1 y1 x2 y2, pixels"""

JPEG_QUALITY = 92
"""of annotated images that are written as JPEG"""
GRAY: Color = (160, 160, 160)
"""color of ignored pixels and of crowds"""
_RIM: Color = (0, 0, 0)
_MIN_FONT_SIZE = 8
"""pixels; smaller text cannot be read"""
_MAX_LABEL_HEIGHT = 0.1
"""height of a label as a fraction of the shorter side"""
_MAX_COVERAGE = 0.5
"""fraction of a box that a label may cover if another position is free"""
_MAX_STEPS = 12
"""number of labels that are placed below each other inside a box"""
_MAX_STACKED = 2
"""number of labels that are placed above each other outside of a box"""
_NUM_ADJACENT = 10
"""number of positions at the corners and beside the top of a box"""
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
_BAND = 64
"""rows of a class map that are drawn at once"""


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


def annotate(image: ImageLike | ImageSource, result: DrawableResult, track_ids: Sequence[int] = ()) -> RGBArray:
    """Draw a result on its image: class map, boxes, labels such as `dog 0.93`.

    All detections are drawn; call `result.filter(min_score=...)` first to draw fewer.

    Args:
        image: A path, the bytes of a file, a Pillow image or an (H, W, 3) uint8 RGB array; it is not changed.
        result: Prediction for this image.
        track_ids: (N,) ids from a tracker, drawn as `dog 3 0.93`; ids below 1 are not shown. Default: none.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        BlitzNetError: The image cannot be read, or has another size than the result.
    """
    if isinstance(image, np.ndarray):
        require_shape(image, (*result.size, 3), name="image")
    source = image if isinstance(image, ImageSource) else ImageSource(image)
    canvas = source.read_pil()
    annotate_pil(canvas, result, track_ids)
    return np.array(canvas)


def annotate_pil(canvas: Image.Image, result: DrawableResult, track_ids: Sequence[int] = ()) -> None:
    """`annotate`, on a Pillow image of mode RGB: no copies for large images that are decoded and encoded by Pillow."""
    if (canvas.height, canvas.width) != result.size:
        raise BlitzNetError(f"image: expected the size {result.size}, got {(canvas.height, canvas.width)}")
    tracks = [f" {track_id}" if track_id > 0 else "" for track_id in track_ids]
    marks = [
        BoxMark(_rectangle(box), f"{result.class_names[label]}{track} {score:.2f}", class_color(int(label)))
        for box, label, score, track in zip(
            result.boxes, result.labels, result.scores, tracks or [""] * len(result.scores), strict=True
        )
    ]
    _draw(canvas, marks, result.class_map)


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
    canvas = Image.fromarray(image)  # a copy
    _draw(canvas, marks, class_map)
    return np.array(canvas)


def _draw(canvas: Image.Image, marks: Sequence[BoxMark], class_map: ClassMap | None) -> None:
    line_width = _line_width(min(canvas.size))
    if class_map is not None:
        _draw_class_map(canvas, class_map, line_width)
    pen = ImageDraw.Draw(canvas)
    for mark in reversed(marks):
        _draw_box(pen, mark, line_width)
    font_size = _font_size(min(canvas.size))
    texts = [_fit(mark.text, font_size, canvas.width - _padding(font_size)) for mark in marks]
    labels = _place_labels(marks, texts, font_size, canvas.size)
    for mark, text, rectangle in zip(marks, texts, labels, strict=True):
        if rectangle is not None:
            _draw_label(pen, mark.color, text, font_size, rectangle)


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


def _rectangle(box: NDArray[np.float32]) -> Rectangle:
    x1, y1, x2, y2 = (float(coordinate) for coordinate in box)
    return x1, y1, x2, y2


@lru_cache(maxsize=1)
def _class_map_palette() -> RGBArray:
    """(256, 3) color of each value of a class map."""
    return np.array([GRAY, *(class_color(value - 1) for value in range(1, IGNORE_INDEX)), GRAY], np.uint8)


def _draw_class_map(canvas: Image.Image, class_map: ClassMap, line_width: int) -> None:
    """Tint classes and outline them; stripes on ignored pixels; background unchanged.

    Bands of rows are drawn one after the other: their arrays stay in the processor's cache.
    """
    require_shape(class_map, (canvas.height, canvas.width), name="class map")
    reach = line_width // 2 + 1  # a contour depends on so many rows around it
    for start in range(0, canvas.height, _BAND):
        stop = min(start + _BAND, canvas.height)
        columns = np.flatnonzero(class_map[start:stop].any(0))
        if not len(columns):
            continue
        top, left, right = max(0, start - reach), max(0, int(columns[0]) - reach), int(columns[-1]) + 1 + reach
        band = class_map[top : stop + reach, left:right]
        opacity = _opacity(band, line_width, top + left)[start - top : stop - top]
        tint = Image.fromarray(band[start - top : stop - top])
        tint.putpalette(_class_map_palette().tobytes())
        canvas.paste(tint.convert("RGB"), (left, start), Image.fromarray(opacity))


def _opacity(class_map: ClassMap, line_width: int, diagonal: int) -> ClassMap:
    """Opacity (H, W), 0..255, of a part of a class map; its first pixel is on this diagonal of the whole map."""
    opacity = _OPACITY.take(class_map)
    opacity[_contour(class_map, line_width)] = 255
    if class_map.max() == IGNORE_INDEX:
        opacity[_stripes(class_map, line_width, diagonal)] = round(255 * _IGNORED_ALPHA)
    return opacity


def _contour(class_map: ClassMap, line_width: int) -> NDArray[np.bool_]:
    """Pixels (H, W) of classes along their borders, `line_width` wide."""
    edge = np.zeros(class_map.shape, np.bool_)
    for a, b in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = class_map[a] != class_map[b]
        edge[a] |= differs
        edge[b] |= differs
    if line_width > 2:
        edge = _dilate(_dilate(edge, line_width // 2).T, line_width // 2).T
    return np.asarray(edge & (class_map > 0) & (class_map < IGNORE_INDEX), np.bool_)


def _dilate(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Dilate a mask (H, W) by `radius` rows above and below, in a number of passes that grows with its logarithm."""
    height, width = mask.shape
    dilated = np.zeros((height + 2 * radius, width), np.bool_)
    dilated[:height] = mask
    reach, target = 1, 2 * radius + 1  # each row holds the OR of `reach` rows from it upwards
    while reach < target:
        step = min(reach, target - reach)
        dilated[step:] |= dilated[:-step].copy()
        reach += step
    return dilated[radius : radius + height]


def _stripes(class_map: ClassMap, line_width: int, diagonal: int) -> NDArray[np.bool_]:
    """Ignored pixels (H, W) on every third diagonal stripe."""
    rows, columns = np.ogrid[: class_map.shape[0], : class_map.shape[1]]
    stripe = (rows + columns + diagonal) // (line_width + 1)
    return np.asarray((class_map == IGNORE_INDEX) & (stripe % 3 == 0), np.bool_)


def _draw_box(pen: ImageDraw.ImageDraw, mark: BoxMark, line_width: int) -> None:
    x1, y1, x2, y2 = mark.box
    has_rim = line_width > 1
    if mark.dashed:
        for start, end in _dashes(mark.box, 6 * line_width):
            if has_rim:
                pen.line([start, end], fill=_RIM, width=line_width + 2)
            pen.line([start, end], fill=mark.color, width=line_width)
        return
    inner, outer = (x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), (x1 - 1, y1 - 1, max(x1, x2), max(y1, y2))
    if has_rim:
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


def _line_width(short_side: int) -> int:
    """Line width for an image, pixels."""
    return max(1 if short_side < 150 else 2, round(1 + short_side / 360))


def _font_size(short_side: int) -> int:
    """Font size for an image, pixels; it grows more slowly than the image."""
    size = round(8 + short_side / 60)
    while size > _MIN_FONT_SIZE and _label_height(size) > _MAX_LABEL_HEIGHT * short_side:
        size -= 1
    return size


def _padding(font_size: int) -> int:
    """Pixels left and right of a text, together."""
    return 2 * max(2, font_size // 5)


def _label_height(font_size: int) -> int:
    return text_height(font_size) + 4


def _fit(text: str, font_size: int, width: float) -> str:
    """Shorten the name in `name 0.93` until the text is at most `width` pixels wide; the score stays."""
    if text_width(text, font_size) <= width:
        return text
    name, _, score = text.rpartition(" ")
    name, ending = (name, f"… {score}") if name else (text, "…")
    while name and text_width(name + ending, font_size) > width:
        name = name[:-1]
    return name + ending


def _place_labels(
    marks: Sequence[BoxMark], texts: Sequence[str], font_size: int, canvas_size: tuple[int, int]
) -> list[Rectangle | None]:
    """A free rectangle for each label on a canvas of (W, H); None where there is none.

    The first marks choose first. Places at a box's corners that cover at most half of each box are preferred.
    """
    height = _label_height(font_size)
    is_tiny = height > _MAX_LABEL_HEIGHT * min(canvas_size)
    boxes = np.array([mark.box for mark in marks], np.float64).reshape(-1, 4)
    placed: list[Rectangle | None] = []
    taken = np.zeros((0, 4))
    for mark, text in zip(marks, texts, strict=True):
        width = text_width(text, font_size) + _padding(font_size)
        positions = _candidates(mark.box, width, height, canvas_size)
        inside = (positions[:, 1] >= 0) & (positions[:, 3] <= canvas_size[1])
        is_free = inside & ~(_intersection(positions, taken) > 0).any(1)
        coverage = (_intersection(positions, boxes) / np.maximum(_area(boxes), 1)).max(1, initial=0)
        is_good = is_free & (coverage <= (0 if is_tiny else _MAX_COVERAGE))
        is_good[_NUM_ADJACENT:] = False
        chosen = positions[is_good][:1]
        if not len(chosen) and not is_tiny:
            chosen = positions[is_free][:1]
        taken = np.concatenate([taken, chosen])
        placed.append((*map(float, chosen[0]),) if text and len(chosen) else None)  # type: ignore[arg-type] # two values
    return placed


def _candidates(box: Rectangle, width: float, height: float, canvas_size: tuple[int, int]) -> NDArray[np.float64]:
    """Places (n, 4) for a label, the best first: at the corners, beside the top, inside, along the sides, outside.

    They are inside the canvas horizontally.
    """
    x1, y1, x2, y2 = box
    corners = [(x, y) for y in (y1 - height, y1, y2, y2 - height) for x in (x1, x2 - width)]
    steps = [height * step for step in range(1, _MAX_STEPS)]
    beside = [
        (x, y) for y in (y1, *(y1 + step for step in steps if y1 + step + height <= y2)) for x in (x1 - width, x2)
    ]
    inside = [(x, y1 + step) for step in steps for x in (x1, x2 - width) if y1 + step + height <= y2]
    stacked = [(x1, y) for step in steps[:_MAX_STACKED] for y in (y1 - height - step, y2 + step)]
    positions = np.array([*corners, *beside[:2], *inside, *beside[2:], *stacked], np.float64)
    positions[:, 0] = positions[:, 0].clip(0, max(0.0, canvas_size[0] - width))
    return np.round(np.concatenate([positions, positions + np.array([width, height])], 1))


def _intersection(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Areas (n, m) that rectangles (n, 4) and (m, 4) share."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.asarray((high - low).clip(0).prod(-1))


def _area(rectangles: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((rectangles[:, 2:] - rectangles[:, :2]).clip(0).prod(-1))


def _draw_label(pen: ImageDraw.ImageDraw, color: Color, text: str, font_size: int, rectangle: Rectangle) -> None:
    x1, y1, x2, y2 = rectangle
    is_bright = float(np.asarray(color) @ _LUMA) > 128
    pen.rectangle((x1, y1, x2 - 1, y2 - 1), fill=color, outline=_RIM)
    draw_text(
        pen, (x1 + _padding(font_size) // 2, y1 + 2), text, font_size, (0, 0, 0) if is_bright else (255, 255, 255)
    )
