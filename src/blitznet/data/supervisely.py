"""Reader of Supervisely projects: meta.json, and folders of images (`img`) and JSON files (`ann`)."""

import base64
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

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
from blitznet.data.labelme import png_pixels
from blitznet.data.masks import rasterize_polygons
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
from blitznet.data.splits import find_split

_MAX_FILE = 256 << 20
_NO_AREA = frozenset({"point", "line", "graph", "cuboid"})


def open_supervisely(root: Path, split: str | None, *, title: str) -> OutlineDataset:
    """Open a project, or one of its datasets as a split.

    Polygons and bitmaps are outlines, rectangles are boxes; points and lines are counted and left out. An image without
    a JSON file is not annotated. Supervisely writes a JSON file for every image: one without an object is assumed to be
    empty. Class names are those of meta.json, in its order.

    Raises:
        DataError: meta.json or the dataset is missing or broken. Errors of single files are in the dataset's `errors`.
    """
    meta = require_dict(read_json(root / "meta.json", limit=_MAX_FILE), str(root / "meta.json"), "project")
    classes = require_list(meta.get("classes"), str(root / "meta.json"), "classes")
    names = tuple(
        require_name(require_dict(item, str(root / "meta.json"), "class").get("title"), str(root / "meta.json"))
        for item in classes
    )
    available = supervisely_datasets(root)
    name = find_split(split, available) if split else None
    if split and name is None:
        listed = ", ".join(available) or "none (leave @SPLIT out)"
        raise DataError(f"{root}: there is no split '{split}'; splits here: {listed}")
    folders = [root / (name or dataset) for dataset in ((name,) if name else available or (".",))]
    records = [record for folder in folders for record in _records(folder, root)]
    return pack_records(records, title=title, class_names=names, lists_all_images=True)


def supervisely_datasets(root: Path) -> tuple[str, ...]:
    """Names of the folders with images and annotations in a project."""
    return tuple(sorted(path.name for path in root.iterdir() if (path / "ann").is_dir()))


def _records(folder: Path, root: Path) -> Iterator[ImageRecord]:
    images = sorted(
        path
        for path in (folder / "img").glob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
    for image in images:
        name = image.relative_to(root).with_suffix("").as_posix().replace("img/", "")
        path = next((p for p in (folder / "ann" / f"{n}.json" for n in (image.name, image.stem)) if p.is_file()), None)
        if path is None:
            yield ImageRecord(name, str(image), None, None)
            continue
        try:
            content = require_dict(read_json(path, limit=_MAX_FILE), str(path), "annotation")
            shape = require_dict(content.get("size"), str(path), "size")
            size = require_size(shape.get("height"), shape.get("width"), str(path))
            items = require_list(content.get("objects"), str(path), "objects")
            objects = [
                o for number, item in enumerate(items, 1) for o in _objects(item, size, f"{path}: object {number}")
            ]
            yield ImageRecord(name, str(image), size, objects)
        except DataError as error:
            yield ImageRecord(name, str(image), None, (), error)


def _objects(value: object, size: tuple[int, int], where: str) -> Iterator[ObjectRecord]:
    """The object; nothing for shapes without an area."""
    item = require_dict(value, where, "object")
    name, kind = require_name(item.get("classTitle"), where), text_or_none(item.get("geometryType"))
    if kind in _NO_AREA:
        yield without_area(name)
        return
    if kind == "bitmap":
        yield from _bitmap(name, require_dict(item.get("bitmap"), where, "bitmap"), size, where)
        return
    points = require_dict(item.get("points"), where, "points")
    if kind == "rectangle":
        corners = require_list(points.get("exterior"), where, "exterior")
        values = require_numbers([v for pair in corners for v in require_list(pair, where, "point")], where, "exterior")
        if len(values) != 4:
            raise DataError(f"{where}: expected two corners, got {len(values)} numbers")
        x1, y1, x2, y2 = polygon_box(values)
        yield ObjectRecord(name, (x1, y1, x2 + 1, y2 + 1))  # the corners are pixels, and the last one is inside
    elif kind == "polygon":
        polygon = require_polygon(points.get("exterior"), where)
        holes = [require_polygon(hole, where) for hole in require_list(points.get("interior", []), where, "interior")]
        yield ObjectRecord(name, polygon_box(polygon), _outline(polygon, holes, size, where))
    else:
        raise DataError(f"{where}: expected a rectangle, polygon, bitmap, point or line, got {shown(kind)}")


def _outline(polygon: list[float], holes: list[list[float]], size: tuple[int, int], where: str) -> Outline:
    if not holes:
        return Outline(polygons=[polygon])
    pixels = np.zeros(size, np.bool_)
    for corners, value in ((polygon, True), *((hole, False) for hole in holes)):
        region, inside = rasterize_polygons([np.asarray(corners, np.float32)], size, name=where)
        pixels[region][inside] = value
    return crop_outline(pixels, (0, 0), size, name=where)


def _bitmap(name: str, bitmap: dict[str, Any], size: tuple[int, int], where: str) -> Iterator[ObjectRecord]:
    """A mask: a PNG, compressed by zlib, in base64; `origin` is its upper left pixel."""
    origin = require_numbers(require_list(bitmap.get("origin"), where, "origin"), where, "origin")
    if len(origin) != 2:
        raise DataError(f"{where}: expected two numbers of origin, got {len(origin)}")
    x, y = map(int, origin)
    try:
        png = zlib.decompressobj().decompress(base64.b64decode(str(bitmap.get("data")), validate=True), MAX_PIXELS)
    except (ValueError, zlib.error) as error:
        raise DataError(f"{where}: expected a bitmap as compressed PNG in base64") from error
    crop = png_pixels(png, where)
    box = crop_box(crop, (x, y))
    if box is not None:
        yield ObjectRecord(name, box, crop_outline(crop, (x, y), size, name=where))
