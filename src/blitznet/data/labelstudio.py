"""Reader of Label Studio's JSON export: a list of tasks, with boxes, polygons, ellipses and brush masks.

Brush masks may also be PNG files; their names contain the id of a task, which the JSON file maps to an image.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blitznet.core.errors import DataError, shown
from blitznet.core.image import IMAGE_SUFFIXES, MAX_PIXELS
from blitznet.data.annotation_files import (
    polygon_box,
    read_json,
    require_dict,
    require_list,
    require_name,
    require_numbers,
    require_polygon,
    require_size,
    text_or_none,
)
from blitznet.data.image_files import ImageFinder
from blitznet.data.labelme import circle_polygon
from blitznet.data.labelstudio_brushes import BrushFile, find_brush_files, read_brush_files
from blitznet.data.outlines import Outline
from blitznet.data.records import ImageRecord, ObjectRecord, OutlineDataset, crop_box, crop_outline, pack_records

_NAME_KEYS = {
    "rectanglelabels": "rectanglelabels",
    "polygonlabels": "polygonlabels",
    "ellipselabels": "ellipselabels",
    "brushlabels": "brushlabels",
}
"""type of a region -> key of its class names"""


def open_labelstudio(root: Path, split: str | None, *, title: str) -> OutlineDataset:
    """Open the JSON file of tasks in a folder, or the JSON file itself.

    The first annotation of a task that was not cancelled counts. A task without one is not annotated, unless there
    are brush masks of it as PNG. Images are searched by the end of their paths; Label Studio writes names such as
    `/data/upload/1/0a1b2c3d-image.jpg`.

    Raises:
        DataError: There is no such file, or a split was named. Errors of single tasks are in the dataset's `errors`.
    """
    path = root if root.is_file() else find_task_file(root)
    if path is None:
        advice = "; brush masks as PNG need the JSON export beside them, which names the images"
        has_brushes = root.is_dir() and bool(find_brush_files(root))
        raise DataError(
            f"{root}: expected a JSON file of Label Studio's tasks, got none{advice if has_brushes else ''}"
        )
    if split is not None:
        raise DataError(f"{path}: there is no split '{split}'; a list of tasks has none (leave @SPLIT out)")
    finder = ImageFinder(path.parent, [path.parent / "images"])
    tasks = require_list(read_json(path), str(path), "tasks")
    brushes = find_brush_files(path.parent)
    records = [_record(task, number, path, finder, brushes) for number, task in enumerate(tasks, 1)]
    return pack_records(records, title=title, class_names=None)


def find_task_file(root: Path) -> Path | None:
    """The first JSON file in a folder that contains a list."""
    for path in sorted(root.glob("*.json")):
        if not path.is_file():
            continue
        with path.open("rb") as file:
            if file.read(1 << 10).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
                return path
    return None


def _record(
    task: Any, number: int, path: Path, finder: ImageFinder, brushes: Mapping[str, Sequence[BrushFile]]
) -> ImageRecord:
    where = f"{path}: task {number}"
    try:
        content = require_dict(task, where, "task")
        where = f"{path}: task {shown(content.get('id', number))}"
        data = require_dict(content.get("data", content), where, "data")  # a task of JSON-MIN is its own data
        file_name = next((v for v in data.values() if isinstance(v, str) and v.lower().endswith(IMAGE_SUFFIXES)), None)
        if file_name is None:
            raise DataError(f"{where}: expected the path of an image in data, got {shown(data)}")
    except DataError as error:
        return ImageRecord(where, str(path), None, (), error)
    image = finder.find(file_name)
    if not image.is_file():  # uploads have a random prefix that exports of images may lack
        bare = finder.find(Path(file_name).name.partition("-")[2] or file_name)
        image = bare if bare.is_file() else image
    name = image.stem
    try:
        results = _results(content, where)
        masks = brushes.get(str(content.get("id")), ())
        if masks and not results:
            return ImageRecord(name, str(image), *read_brush_files(masks))
        if results is None:
            return ImageRecord(name, str(image), None, None)
        objects = tuple(_objects(results, where))
        size = next((_size(result, where) for result in results if "original_width" in result), None)
        return ImageRecord(name, str(image), size, objects)
    except DataError as error:
        return ImageRecord(name, str(image), None, (), error)


def _results(task: dict[str, Any], where: str) -> list[dict[str, Any]] | None:
    """The regions of the first annotation that counts; None without one."""
    annotations = require_list(task.get("annotations", task.get("completions", [])), where, "annotations")
    for annotation in annotations:
        content = require_dict(annotation, where, "annotation")
        if not content.get("was_cancelled"):
            results = require_list(content.get("result"), where, "result")
            return [require_dict(result, where, "result") for result in results]
    return None


def _size(result: dict[str, Any], where: str) -> tuple[int, int]:
    return require_size(result.get("original_height"), result.get("original_width"), where)


def _objects(results: list[dict[str, Any]], where: str) -> Iterator[ObjectRecord]:
    for number, result in enumerate(results, 1):
        kind = text_or_none(result.get("type"))
        if kind not in _NAME_KEYS:
            continue  # choices, keypoints, relations, texts
        text = f"{where}: result {number}"
        value = require_dict(result.get("value"), text, "value")
        names = require_list(value.get(_NAME_KEYS[kind], []), text, _NAME_KEYS[kind])
        if not names:
            continue  # a region that was drawn and not labeled
        item = _object(require_name(names[0], text), kind, value, _size(result, text), text)
        if item is not None:
            yield item


def _object(name: str, kind: str, value: dict[str, Any], size: tuple[int, int], where: str) -> ObjectRecord | None:
    """An object from coordinates in percent of the image."""
    height, width = size
    if kind == "brushlabels":
        pixels = decode_brush(require_list(value.get("rle"), where, "rle"), size, where)
        box = crop_box(pixels, (0, 0))
        return None if box is None else ObjectRecord(name, box, crop_outline(pixels, (0, 0), size, name=where))
    if kind == "polygonlabels":
        values = np.asarray(require_polygon(value.get("points"), where)).reshape(-1, 2)
        polygon = [float(v) for v in (values * (width / 100, height / 100)).ravel()]
        return ObjectRecord(name, polygon_box(polygon), Outline(polygons=[polygon]))
    keys = ("x", "y", "radiusX", "radiusY") if kind == "ellipselabels" else ("x", "y", "width", "height")
    numbers = require_numbers([value.get(key) for key in keys], where, " ".join(keys))
    x, y, a, b = (v * length / 100 for v, length in zip(numbers, (width, height) * 2, strict=True))
    (degrees,) = require_numbers([value.get("rotation") or 0], where, "rotation")
    angle = math.radians(degrees)
    if kind == "ellipselabels":
        polygon = circle_polygon(x, y, a, b, angle)
    elif angle:  # turned around the upper left corner
        cos, sin = math.cos(angle), math.sin(angle)
        polygon = [
            x,
            y,
            x + a * cos,
            y + a * sin,
            x + a * cos - b * sin,
            y + a * sin + b * cos,
            x - b * sin,
            y + b * cos,
        ]
    else:
        return ObjectRecord(name, (x, y, x + a, y + b))
    return ObjectRecord(name, polygon_box(polygon), Outline(polygons=[polygon]))


def decode_brush(rle: list[Any], size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """The pixels (H, W) of a brush mask: RGBA values in the run-length code of `@thi.ng/rle-pack`.

    Raises:
        DataError: The code is broken, or has another size.
    """
    height, width = size
    if height * width > MAX_PIXELS:
        raise DataError(f"{where}: expected at most {MAX_PIXELS:,} pixels, got {width}x{height}")
    try:
        bits = _Bits(bytes(rle))
        count = bits.read(32)
        if count != height * width * 4:
            raise DataError(f"{where}: expected a mask of {width}x{height} pixels, got {count // 4:,} pixels")
        word_size = bits.read(5) + 1
        if word_size != 8:
            raise ValueError
        sizes = [bits.read(4) + 1 for _ in range(4)]
        values = np.zeros(count, np.uint8)
        position = 0
        while position < count:
            is_run = bits.read(1)
            length = bits.read(sizes[bits.read(2)]) + 1
            if position + length > count:
                raise DataError(f"{where}: expected a mask of {width}x{height} pixels, got a longer one")
            if is_run:
                values[position : position + length] = bits.read(word_size)
            else:
                values[position : position + length] = [bits.read(word_size) for _ in range(length)]
            position += length
    except (IndexError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: expected run lengths of a brush mask, got a broken or truncated list") from error
    return values.reshape(height, width, 4)[..., 3] > 0


class _Bits:
    """Reads numbers of any number of bits, the highest bit first."""

    def __init__(self, content: bytes) -> None:
        self._text = content
        self._position = 0

    def read(self, count: int) -> int:
        """The next `count` bits."""
        start, end = self._position, self._position + count
        if end > 8 * len(self._text):
            raise IndexError
        part = int.from_bytes(self._text[start // 8 : -(-end // 8)])
        self._position = end
        return part >> (-end % 8) & ((1 << count) - 1)
