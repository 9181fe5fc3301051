"""Reader of VIA, the VGG Image Annotator: JSON projects and exports, and CSV exports."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from blitznet.core.errors import DataError, shown
from blitznet.core.image import IMAGE_SUFFIXES
from blitznet.data.annotation_files import (
    polygon_box,
    read_csv,
    read_json,
    require_dict,
    require_name,
    require_numbers,
    text_or_none,
)
from blitznet.data.image_files import ImageFinder
from blitznet.data.labelme import circle_polygon
from blitznet.data.outlines import Outline
from blitznet.data.records import ImageRecord, ObjectRecord, OutlineDataset, pack_records, without_area
from blitznet.data.splits import find_split, is_split_name

DEFAULT_CLASS = "object"
"""class of regions without a name"""
_NAME_KEYS = ("class", "label", "name", "type", "category", "object")
_NO_AREA = frozenset({"point", "polyline", "line"})


def open_via(root: Path, split: str | None, *, title: str) -> OutlineDataset:
    """Open a JSON or CSV file of VIA, or the one in a folder; a split is a folder with such a file.

    Rectangles are boxes; polygons, circles and ellipses are outlines; points and lines are left out. The class of a
    region is its attribute `class`, `label`, `name` or `type`, else its only attribute. Regions without an attribute
    have the class `object`.

    Raises:
        DataError: There is no such file, or it is broken. Errors of single images are in the dataset's `errors`.
    """
    folder = root
    if split is not None:
        name = find_split(split, via_splits(root)) if root.is_dir() else None
        if name is None:
            listed = ", ".join(via_splits(root) if root.is_dir() else ()) or "none (leave @SPLIT out)"
            raise DataError(f"{root}: there is no split '{split}'; splits here: {listed}")
        folder = root / name
    path = folder if folder.is_file() else find_via_file(folder)
    if path is None:
        raise DataError(f"{folder}: expected a JSON or CSV file of VIA, got none")
    finder = ImageFinder(path.parent, [path.parent / "images"])
    entries = list(_entries(path))
    paths = finder.find_all(map(_file_name, entries))
    records = [_record(entry, path, paths[_file_name(entry)]) for entry in entries]
    return pack_records(records, title=title, class_names=None)


def find_via_file(folder: Path) -> Path | None:
    """The first file in a folder that VIA wrote."""
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.csv")]):
        try:
            if next(iter(_entries(path)), None) is not None:
                return path
        except DataError:
            continue
    return None


def via_splits(root: Path) -> tuple[str, ...]:
    """Folders of the root that are splits and contain a file of VIA."""
    folders = [path for path in root.iterdir() if path.is_dir() and is_split_name(path.name)]
    return tuple(sorted(path.name for path in folders if find_via_file(path) is not None))


def _entries(path: Path) -> Iterable[dict[str, Any]]:
    """The images of a file: filename, and regions with shape and attributes."""
    if path.suffix.lower() == ".csv":
        return _csv_entries(path)
    content = require_dict(read_json(path), str(path), "images")
    images = require_dict(content.get("_via_img_metadata", content), str(path), "_via_img_metadata")
    entries = [entry for entry in images.values() if isinstance(entry, dict) and "filename" in entry]
    if len(entries) < len(images) or not all("regions" in entry for entry in entries):
        raise DataError(f"{path}: expected images with filename and regions; is it a file of VIA?")
    return entries


def _csv_entries(path: Path) -> list[dict[str, Any]]:
    regions: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for number, row in enumerate(read_csv(path), 2):
        file_name = row.get("filename") or row.get("#filename")
        if not file_name or "region_shape_attributes" not in row:
            raise DataError(f"{path}:{number}: expected columns filename and region_shape_attributes of VIA")
        try:
            shape = json.loads(row["region_shape_attributes"] or "{}")
            attributes = json.loads(row.get("region_attributes") or "{}")
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}:{number}: expected JSON in region_shape_attributes and region_attributes"
            ) from error
        regions[file_name] += [{"shape_attributes": shape, "region_attributes": attributes}] if shape else []
    return [{"filename": name, "regions": items} for name, items in regions.items()]


def _file_name(entry: dict[str, Any]) -> str:
    return entry["filename"] if isinstance(entry["filename"], str) else shown(entry["filename"])


def _record(entry: dict[str, Any], path: Path, image_path: Path) -> ImageRecord:
    file_name = _file_name(entry)
    name = file_name[: -len(Path(file_name).suffix)] if file_name.lower().endswith(IMAGE_SUFFIXES) else file_name
    image, where = str(image_path), f"{path}: image {file_name}"
    regions = entry["regions"]
    items = list(regions.values()) if isinstance(regions, dict) else regions  # a dict until version 2
    try:
        if not isinstance(items, list):
            raise DataError(f"{where}: expected a list of regions, got a {type(items).__name__}")
        objects = tuple(_objects(items, where))
    except DataError as error:
        return ImageRecord(name, image, None, (), error)
    # VIA lists all images of a project: one without a region is not known to be empty.
    return ImageRecord(name, image, None, objects if items else None)


def _objects(regions: list[Any], where: str) -> Iterator[ObjectRecord]:
    for number, region in enumerate(regions, 1):
        text = f"{where}: region {number}"
        shape = require_dict(require_dict(region, text, "region").get("shape_attributes"), text, "shape_attributes")
        name = _class_name(region.get("region_attributes"), text)
        yield _object(name, shape, text)


def _class_name(attributes: object, where: str) -> str:
    if not isinstance(attributes, dict) or not attributes:
        return DEFAULT_CLASS
    lower = {str(key).lower(): value for key, value in attributes.items()}
    value = next((lower[key] for key in _NAME_KEYS if lower.get(key)), None) or next(iter(attributes.values()))
    if isinstance(value, dict):  # checkboxes
        value = next((name for name, is_set in value.items() if is_set), "")
    is_empty = value is None or (isinstance(value, str) and not value.strip())
    return DEFAULT_CLASS if is_empty else require_name(value, where)


def _object(name: str, shape: dict[str, Any], where: str) -> ObjectRecord:
    kind = text_or_none(shape.get("name"))
    if kind in _NO_AREA:
        return without_area(name)
    if kind == "rect":
        keys = ("x", "y", "width", "height")
        x, y, width, height = require_numbers([shape.get(key) for key in keys], where, " ".join(keys))
        return ObjectRecord(name, (x, y, x + width, y + height))
    if kind == "polygon":
        xs = require_numbers(shape.get("all_points_x"), where, "all_points_x")
        ys = require_numbers(shape.get("all_points_y"), where, "all_points_y")
        if len(xs) != len(ys) or len(xs) < 3:
            raise DataError(f"{where}: expected three points or more, got {len(xs)} x and {len(ys)} y")
        polygon = [value for pair in zip(xs, ys, strict=True) for value in pair]
    elif kind == "circle":
        polygon = circle_polygon(*require_numbers([shape.get(key) for key in ("cx", "cy", "r")], where, "cx cy r"))
    elif kind == "ellipse":
        keys = ("cx", "cy", "rx", "ry")
        cx, cy, rx, ry = require_numbers([shape.get(key) for key in keys], where, " ".join(keys))
        (angle,) = require_numbers([shape.get("theta") or 0], where, "theta")
        polygon = circle_polygon(cx, cy, rx, ry, angle)
    else:
        raise DataError(f"{where}: expected a rect, polygon, circle, ellipse, point or polyline, got {shown(kind)}")
    return ObjectRecord(name, polygon_box(polygon), Outline(polygons=[polygon]))
