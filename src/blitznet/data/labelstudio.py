"""Reader of Label Studio's JSON export: a list of tasks, with boxes, polygons, ellipses and brush masks.

Brush masks may also be PNG files; their names contain the id of a task, which the JSON file maps to an image.
"""

import math
from collections import Counter
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
from blitznet.data.image_files import ImageFinder, is_file, link_path
from blitznet.data.labelme import circle_polygon
from blitznet.data.labelstudio_brushes import BrushFile, find_brush_files, read_brush_files
from blitznet.data.outlines import Outline
from blitznet.data.records import (
    ImageRecord,
    ObjectRecord,
    OutlineDataset,
    crop_box,
    crop_outline,
    pack_records,
    without_area,
)

_NAME_KEYS = {
    "rectanglelabels": "rectanglelabels",
    "polygonlabels": "polygonlabels",
    "ellipselabels": "ellipselabels",
    "brushlabels": "brushlabels",
    **dict.fromkeys(("rectangle", "polygon", "ellipse", "brush"), "labels"),
}
"""type of a region -> key of its class names; those without `labels` in their type have them in another result"""
_NO_AREA = frozenset({"keypointlabels", "keypoint", "vector", "vectorlabels"})
"""types of regions that are points and lines"""


def open_labelstudio(root: Path, split: str | None, *, title: str) -> OutlineDataset:
    """Open the JSON file of tasks in a folder, or the JSON file itself.

    JSON and JSON-MIN are read. The first annotation of a task that was not cancelled counts. A task without one is not
    annotated, unless there are brush masks of it as PNG. Points, lines and regions without a class are counted and left
    out. Images are searched by the end of their paths; Label Studio writes names such as
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
    tasks = _first_rows(require_list(read_json(path), str(path), "tasks"))
    images = _find_images([name for task in tasks if (name := _file_name(task)) is not None], finder)
    brushes = find_brush_files(path.parent)
    records = [_record(task, number, path, images, brushes) for number, task in enumerate(tasks, 1)]
    return pack_records(records, title=title, class_names=None)


def _first_rows(tasks: list[Any]) -> list[Any]:
    """The tasks; JSON-MIN has a row for each annotation, of which the first one counts."""
    rows: dict[object, Any] = {}
    for number, task in enumerate(tasks):
        is_min = isinstance(task, dict) and "data" not in task and isinstance(task.get("id"), int)
        rows.setdefault(task["id"] if is_min else f"row {number}", task)
    return list(rows.values())


def _file_name(task: object) -> str | None:
    """The path or the link of a task's image."""
    data = task.get("data", task) if isinstance(task, dict) else None  # a task of JSON-MIN is its own data
    values = [value for value in data.values() if isinstance(value, str)] if isinstance(data, dict) else []
    return next((value for value in values if link_path(value).lower().endswith(IMAGE_SUFFIXES)), None)


def _find_images(names: Sequence[str], finder: ImageFinder) -> dict[str, Path]:
    """The image of each name; names of uploads have a random prefix that exports of images may lack."""
    images = finder.find_all(names)
    missing = [name for name in images if not is_file(images[name])]
    bare = {name: Path(link_path(name)).name.partition("-")[2] for name in missing}
    counts = Counter(bare.values())
    matches = finder.find_all(text for text in bare.values() if text)
    taken = set(images.values())
    for name, text in bare.items():
        if text and counts[text] == 1 and is_file(matches[text]) and matches[text] not in taken:
            images[name] = matches[text]
    return images


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
    task: Any, number: int, path: Path, images: Mapping[str, Path], brushes: Mapping[str, Sequence[BrushFile]]
) -> ImageRecord:
    where = f"{path}: task {number}"
    try:
        content = require_dict(task, where, "task")
        where = f"{path}: task {shown(content.get('id', number))}"
        data = require_dict(content.get("data", content), where, "data")
        file_name = _file_name(content)
        if file_name is None:
            raise DataError(f"{where}: expected the path of an image in data, got {shown(data)}")
    except DataError as error:
        return ImageRecord(where, str(path), None, (), error)
    image = images[file_name]
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
    if "data" not in task and "annotations" not in task:
        return _min_results(task) or None
    annotations = require_list(task.get("annotations", task.get("completions", [])), where, "annotations")
    for annotation in annotations:
        content = require_dict(annotation, where, "annotation")
        if not content.get("was_cancelled"):
            results = require_list(content.get("result"), where, "result")
            return [require_dict(result, where, "result") for result in results]
    return None


def _min_results(task: dict[str, Any]) -> list[dict[str, Any]]:
    """The regions of a row of JSON-MIN, which are lists beside the image, in the form of other exports."""
    regions = [
        region
        for value in task.values()
        if isinstance(value, list)
        for region in value
        if isinstance(region, dict) and "original_width" in region
    ]
    return [
        {"type": next((key for key in _NAME_KEYS if key in region), ""), "value": region} | region for region in regions
    ]


def _size(result: dict[str, Any], where: str) -> tuple[int, int]:
    return require_size(result.get("original_height"), result.get("original_width"), where)


def _objects(results: list[dict[str, Any]], where: str) -> Iterator[ObjectRecord]:
    labels = _separate_labels(results, where)
    for number, result in enumerate(results, 1):
        kind = text_or_none(result.get("type"))
        text = f"{where}: result {number}"
        if kind in _NO_AREA:
            yield without_area(kind)
        if kind not in _NAME_KEYS:
            continue  # choices, relations, texts
        value = require_dict(result.get("value"), text, "value")
        key = _NAME_KEYS[kind]
        names = require_list(value.get(key, []), text, key) or labels.get(text_or_none(result.get("id")), [])
        if not names:
            yield without_area("a region without a class")
            continue
        item = _object(require_name(names[0], text), kind, value, _size(result, text), text)
        if item is not None:
            yield item


def _separate_labels(results: Sequence[dict[str, Any]], where: str) -> dict[str | None, list[Any]]:
    """Id of a region -> its class names, which are a result of their own where shapes and labels are two controls."""
    values = [
        (text_or_none(result.get("id")), require_dict(result.get("value"), where, "value"))
        for result in results
        if result.get("type") == "labels"
    ]
    return {name: require_list(value.get("labels", []), where, "labels") for name, value in values if name}


def _object(name: str, kind: str, value: dict[str, Any], size: tuple[int, int], where: str) -> ObjectRecord | None:
    """An object from coordinates in percent of the image."""
    height, width = size
    if kind in ("brushlabels", "brush"):
        pixels = decode_brush(require_list(value.get("rle"), where, "rle"), size, where)
        box = crop_box(pixels, (0, 0))
        return None if box is None else ObjectRecord(name, box, crop_outline(pixels, (0, 0), size, name=where))
    if kind in ("polygonlabels", "polygon"):
        values = np.asarray(require_polygon(value.get("points"), where)).reshape(-1, 2)
        polygon = [float(v) for v in (values * (width / 100, height / 100)).ravel()]
        return ObjectRecord(name, polygon_box(polygon), Outline(polygons=[polygon]))
    is_ellipse = kind in ("ellipselabels", "ellipse")
    keys = ("x", "y", "radiusX", "radiusY") if is_ellipse else ("x", "y", "width", "height")
    numbers = require_numbers([value.get(key) for key in keys], where, " ".join(keys))
    x, y, a, b = (v * length / 100 for v, length in zip(numbers, (width, height) * 2, strict=True))
    (degrees,) = require_numbers([value.get("rotation") or 0], where, "rotation")
    angle = math.radians(degrees)
    if is_ellipse:
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
