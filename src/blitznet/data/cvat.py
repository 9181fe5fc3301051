"""Reader of "CVAT for images 1.1" and "CVAT for video 1.1": one XML file of all images."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from blitznet.core.errors import DataError
from blitznet.core.image import IMAGE_SUFFIXES, MAX_PIXELS
from blitznet.data.annotation_files import polygon_box, read_xml, require_numbers, require_size
from blitznet.data.cvat_video import UNKNOWN, frame_elements, has_tracks
from blitznet.data.image_files import ImageFinder
from blitznet.data.labelme import circle_polygon
from blitznet.data.masks import expand_runs
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

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_NO_AREA = frozenset({"points", "polyline", "skeleton", "cuboid"})
"""elements that are neither boxes nor regions; they are left out"""


def open_cvat(root: Path, split: str | None, *, title: str) -> OutlineDataset:
    """Open the XML file in a folder, or the XML file itself; a split is a subset of CVAT's task.

    Polygons, ellipses and masks are outlines, boxes are boxes; turned boxes are outlines. Points and lines are counted
    and left out. CVAT lists all images of a task: those without an element are assumed to be empty. Elements of one
    `group_id` stay separate objects. Class names are the task's labels, else those that occur, in alphabetical order.
    The tracks of a video need images of its frames.

    Raises:
        DataError: There is no such file, or no image of a video's frames. Errors of single images are in the dataset's
            `errors`.
    """
    path = root if root.is_file() else find_cvat_file(root)
    if path is None:
        raise DataError(f"{root}: expected annotations.xml of CVAT for images 1.1, got none")
    tree = read_xml(path)
    images = frame_elements(tree, path) if has_tracks(tree) else list(tree.iter("image"))
    subsets = sorted({image.get("subset", "") for image in images} - {""})
    if split is not None:
        subset = find_split(split, subsets)
        if subset is None:
            listed = ", ".join(subsets) or "none (leave @SPLIT out)"
            raise DataError(f"{path}: there is no split '{split}'; splits here: {listed}")
        images = [image for image in images if image.get("subset") == subset]
    folder = path.parent
    finder = ImageFinder(folder, [folder / "images", *(folder / "images" / name for name in subsets)])
    paths = finder.find_all(image.get("name") or "" for image in images)
    records = [_record(image, path, paths) for image in images]
    labels = [
        text.strip() for node in tree.iter("label") if (text := node.findtext("name")) and node.find("svg") is None
    ]
    skeleton_parts = {
        part.findtext("name", "").strip() for part in tree.iter("label") if part.find("parent") is not None
    }
    used = {item.name for record in records for item in record.objects or () if item.has_area}
    names = [name for name in dict.fromkeys(labels) if name not in skeleton_parts]
    all_names = (*names, *sorted(used - {*names})) if names else None
    return pack_records(records, title=title, class_names=all_names, lists_all_images=True)


def find_cvat_file(root: Path) -> Path | None:
    """annotations.xml in a folder, or the only XML file there."""
    if (root / "annotations.xml").is_file():
        return root / "annotations.xml"
    files = sorted(root.glob("*.xml"))
    return files[0] if len(files) == 1 else None


def cvat_subsets(path: Path) -> tuple[str, ...]:
    """Names of the subsets in an XML file; none if all images are in the same one."""
    subsets = {image.get("subset", "") for image in read_xml(path).iter("image")}
    return tuple(sorted(subsets - {""})) if len(subsets) > 1 else ()


def _record(image: "Element", path: Path, paths: Mapping[str, Path]) -> ImageRecord:
    file_name = image.get("name") or ""
    name = file_name[: -len(Path(file_name).suffix)] if file_name.lower().endswith(IMAGE_SUFFIXES) else file_name
    where = f"{path}: image {file_name or image.get('id')}"
    image_path = str(paths[file_name]) if file_name else str(path)
    try:
        if not file_name:
            raise DataError(f"{where}: expected a name, got none")
        size = require_size(image.get("height"), image.get("width"), where)
        objects = None if image.get(UNKNOWN) else tuple(_objects(image, size, where))
        return ImageRecord(name, image_path, size, objects)
    except DataError as error:
        return ImageRecord(name or where, image_path, None, (), error)


def _objects(image: "Element", size: tuple[int, int], where: str) -> Iterator[ObjectRecord]:
    """The objects of an image, from the lowest to the highest."""
    elements = [element for element in image if element.tag != "tag"]  # a tag is a class of the whole image
    for number, element in enumerate(sorted(elements, key=_z_order), 1):
        label = (element.get("label") or "").strip()
        element_name = f"{where}: {element.tag} {number}"
        if not label:
            raise DataError(f"{element_name}: expected a label, got none")
        item = _object(label, element, size, element_name)
        if item is not None:
            yield item


def _z_order(element: "Element") -> int:
    try:
        return int(element.get("z_order") or 0)
    except ValueError:
        return 0


def _object(label: str, element: "Element", size: tuple[int, int], where: str) -> ObjectRecord | None:
    if element.tag in _NO_AREA:
        return without_area(label)
    if element.tag == "box":
        corners = [element.get(key) for key in ("xtl", "ytl", "xbr", "ybr")]
        x1, y1, x2, y2 = require_numbers(corners, where, "xtl ytl xbr ybr")
        (angle,) = require_numbers([element.get("rotation") or 0], where, "rotation")
        if not angle % 360:
            return ObjectRecord(label, (x1, y1, x2, y2))
        polygon = _turned_box((x1, y1, x2, y2), math.radians(angle))
    elif element.tag == "polygon":
        points = (element.get("points") or "").replace(";", ",").split(",")
        polygon = require_numbers(points, where, "points")
        if len(polygon) < 6 or len(polygon) % 2:
            raise DataError(f"{where}: expected three points or more, got {len(polygon)} numbers")
    elif element.tag == "ellipse":
        keys = ("cx", "cy", "rx", "ry")
        cx, cy, rx, ry = require_numbers([element.get(key) for key in keys], where, " ".join(keys))
        (angle,) = require_numbers([element.get("rotation") or 0], where, "rotation")
        polygon = circle_polygon(cx, cy, rx, ry, math.radians(angle))
    elif element.tag == "mask":
        return _mask_object(label, element, size, where)
    else:
        raise DataError(f"{where}: expected a box, polygon, ellipse or mask")
    return ObjectRecord(label, polygon_box(polygon), Outline(polygons=[polygon]))


def _turned_box(box: tuple[float, float, float, float], angle: float) -> list[float]:
    x1, y1, x2, y2 = box
    corners = np.asarray([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    middle = corners.mean(0)
    turn = np.asarray([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return [float(value) for value in ((corners - middle) @ turn + middle).ravel()]


def _mask_object(label: str, element: "Element", size: tuple[int, int], where: str) -> ObjectRecord | None:
    left, top, width, height = (
        int(value)
        for value in require_numbers([element.get(k) for k in ("left", "top", "width", "height")], where, "rle")
    )
    try:
        lengths = np.asarray([int(word) for word in (element.get("rle") or "").split(",")], np.int64)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{where}: expected run lengths, got '{(element.get('rle') or '')[:40]}'") from error
    crop = decode_row_runs(lengths, (height, width), where)
    box = crop_box(crop, (left, top))
    return None if box is None else ObjectRecord(label, box, crop_outline(crop, (left, top), size, name=where))


def decode_row_runs(lengths: NDArray[np.int64], size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """The mask (h, w) of run lengths row by row, background first.

    Raises:
        DataError: The lengths do not fill the size.
    """
    height, width = size
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise DataError(f"{where}: expected a mask of 1 to {MAX_PIXELS:,} pixels, got {width}x{height}")
    return expand_runs(lengths, height * width, name=where).reshape(height, width)
