"""Reader of labelme: a JSON file of shapes for each image, which may contain the image."""

import base64
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blitznet.core.errors import DataError, shown
from blitznet.core.image import IMAGE_SUFFIXES, ImageSource, opened_mask
from blitznet.data.annotation_files import (
    polygon_box,
    read_json,
    require_dict,
    require_list,
    require_numbers,
    require_polygon,
    require_size,
    text_or_none,
)
from blitznet.data.dataset import files_by_name, read_text
from blitznet.data.file_walk import walk_files
from blitznet.data.image_files import ImageFinder, is_file
from blitznet.data.outlines import Outline
from blitznet.data.records import (
    BACKGROUND_NAMES,
    ImageRecord,
    ObjectRecord,
    OutlineDataset,
    crop_box,
    crop_outline,
    pack_records,
    without_area,
)
from blitznet.data.splits import find_split, is_split_name

_MAX_FILE = 256 << 20
_MAX_LIST = 1 << 20
_NO_AREA = frozenset({"point", "line", "linestrip", "points"})
"""shapes that are neither boxes nor regions; they are left out"""
_CIRCLE_CORNERS = 64


def open_labelme(root: Path, split: str | None, *, title: str) -> OutlineDataset:
    """Open all images and JSON files under a folder; a split is a folder in it.

    Polygons, circles and masks are outlines, rectangles are boxes. Shapes of one `group_id` and label are one object.
    Points and lines are counted and left out. An image without a JSON file is not annotated. An image that does not
    exist is read from `imageData` of its JSON file. Class names are the lines of `labels.txt` if there is one, else
    those that occur in any split, in alphabetical order.

    Raises:
        DataError: There is no JSON file of labelme. Errors of single files are in the dataset's `errors`.
    """
    folder = _split_folder(root, split)
    finder = ImageFinder(folder, [folder / "images", root / "images"])
    files = list(_read_files(folder))
    images = _find_images(files, finder)
    records = [_record(path, content, folder, images[path]) for path, content in files]
    if not records:
        raise DataError(f"{folder}: expected JSON files of labelme, got none")
    annotated = {Path(record.path).resolve() for record in records}
    records += [
        ImageRecord(name, str(path), None, None)
        for name, paths in files_by_name(folder, IMAGE_SUFFIXES).items()
        for path in paths
        if path.resolve() not in annotated
    ]
    packed = pack_records(records, title=title, class_names=_class_names(root, folder, records))
    return LabelmeDataset(**{field.name: getattr(packed, field.name) for field in fields(packed)})


@dataclass(frozen=True, eq=False)
class LabelmeDataset(OutlineDataset):
    """Images as files, or inside their JSON files, which are their paths then."""

    def image_source(self, index: int) -> ImageSource:
        """The image of one sample, in memory if it is inside a JSON file."""
        path = Path(self.image_paths[index])
        return ImageSource(_embedded_image(path)) if path.suffix.lower() == ".json" else super().image_source(index)


def _embedded_image(path: Path) -> bytes:
    """The image file inside a JSON file.

    Raises:
        DataError: It is no image in base64.
    """
    content = require_dict(read_json(path, limit=_MAX_FILE), str(path), "image")
    try:
        return base64.b64decode(str(content.get("imageData")), validate=True)
    except ValueError as error:
        raise DataError(f"{path}: expected imageData as an image in base64 ({error})") from error


def labelme_splits(root: Path) -> tuple[str, ...]:
    """Folders of the root that are splits and contain JSON files."""
    names = [path.name for path in root.iterdir() if path.is_dir() and is_split_name(path.name)]
    return tuple(sorted(name for name in names if any(p.suffix.lower() == ".json" for p in walk_files(root / name))))


def _split_folder(root: Path, split: str | None) -> Path:
    if split is None:
        return root
    available = labelme_splits(root)
    name = find_split(split, available)
    if name is None:
        raise DataError(
            f"{root}: there is no split '{split}'; splits here: {', '.join(available) or 'none (leave @SPLIT out)'}"
        )
    return root / name


def _read_files(folder: Path) -> Iterator[tuple[Path, dict[str, Any] | DataError]]:
    """The content of each JSON file with shapes, or the error of a broken one."""
    for path in sorted(path for path in walk_files(folder) if path.suffix.lower() == ".json"):
        try:
            content = read_json(path, limit=_MAX_FILE)
        except DataError as error:
            yield path, error
            continue
        if isinstance(content, dict) and "shapes" in content:
            yield path, content


def _class_names(root: Path, folder: Path, records: Sequence[ImageRecord]) -> tuple[str, ...]:
    """All splits of a dataset must have the same class names."""
    path = root / "labels.txt"
    if path.is_file():
        lines = read_text(path, limit=_MAX_LIST).splitlines()
        return tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    names = {item.name for record in records for item in record.objects or () if item.has_area}
    if folder != root:
        for _, content in _read_files(root):
            shapes = content.get("shapes") if isinstance(content, dict) else None
            names |= {
                shape["label"].strip()
                for shape in (shapes if isinstance(shapes, list) else ())
                if isinstance(shape, dict)
                and isinstance(shape.get("label"), str)
                and text_or_none(shape.get("shape_type")) not in _NO_AREA
            }
    return tuple(sorted(names - BACKGROUND_NAMES))


def _find_images(files: Sequence[tuple[Path, dict[str, Any] | DataError]], finder: ImageFinder) -> dict[Path, Path]:
    """The image of each JSON file: the one that it names, the one of its own name, or itself if that is inside."""
    images: dict[Path, Path] = {}
    searched: dict[Path, str] = {}
    for path, content in files:
        named = None if isinstance(content, DataError) else text_or_none(content.get("imagePath"))
        beside = next((path.with_suffix(s) for s in IMAGE_SUFFIXES if path.with_suffix(s).is_file()), None)
        if named and is_file(path.parent / named):
            images[path] = path.parent / named
        elif beside is not None:
            images[path] = beside
        else:
            searched[path] = named or f"{path.stem}.jpg"
    matches = finder.find_all(searched.values())
    taken = {image.resolve() for image in images.values()}
    for path, content in files:
        if path in searched:
            image = matches[searched[path]]
            has_image = isinstance(content, dict) and text_or_none(content.get("imageData")) is not None
            is_missing = not is_file(image) or image.resolve() in taken
            images[path] = image if not is_missing else path if has_image else path.with_suffix(".jpg")
    return images


def _record(path: Path, content: dict[str, Any] | DataError, folder: Path, image: Path) -> ImageRecord:
    name = path.relative_to(folder).with_suffix("").as_posix()
    if isinstance(content, DataError):
        return ImageRecord(name, str(image), None, (), content)
    try:
        size = require_size(content.get("imageHeight"), content.get("imageWidth"), str(path))
        shapes = require_list(content.get("shapes"), str(path), "shapes")
        objects = tuple(_objects(shapes, size, path))
    except DataError as error:
        return ImageRecord(name, str(image), None, (), error)
    return ImageRecord(name, str(image), size, objects)


def _objects(shapes: list[Any], size: tuple[int, int], path: Path) -> Iterator[ObjectRecord]:
    """The objects of the shapes; shapes of one group are one object."""
    groups: dict[object, list[ObjectRecord]] = defaultdict(list)
    for number, shape in enumerate(shapes, 1):
        where = f"{path}: shape {number}"
        item = _object(require_dict(shape, where, "shape"), size, where)
        if item is not None and not item.has_area:
            yield item
        elif item is not None:
            group = shape.get("group_id")
            groups[(group, item.name) if isinstance(group, int) else f"shape {number}"].append(item)
    for items in groups.values():
        yield from [_merge(items)] if all(item.outline.polygons for item in items) else items


def _merge(items: list[ObjectRecord]) -> ObjectRecord:
    boxes = np.asarray([item.box for item in items])
    x1, y1 = boxes[:, :2].min(0).tolist()
    x2, y2 = boxes[:, 2:].max(0).tolist()
    polygons = [polygon for item in items for polygon in item.outline.polygons]
    return items[0]._replace(box=(x1, y1, x2, y2), outline=Outline(polygons=polygons))


def _object(shape: dict[str, Any], size: tuple[int, int], where: str) -> ObjectRecord | None:
    """The object of a shape; None for one that labelme does not draw."""
    label, kind = shape.get("label"), text_or_none(shape.get("shape_type")) or "polygon"
    if not isinstance(label, str) or not label.strip():
        raise DataError(f"{where}: expected a label, got none; add it")
    name, points = label.strip(), shape.get("points")
    if kind in _NO_AREA:
        return without_area(name)
    if kind == "mask":
        return _mask_object(name, shape, size, where)
    if kind in ("rectangle", "circle"):
        pairs = require_list(points, where, "points")
        values = require_numbers([value for pair in pairs for value in require_list(pair, where, "point")], where, kind)
        if len(values) != 4 and not (kind == "rectangle" and len(values) == 8):
            raise DataError(f"{where}: expected two points of a {kind}, got {len(values) // 2}")
        if kind == "rectangle":
            return ObjectRecord(name, polygon_box(values))
        polygon = circle_polygon(values[0], values[1], math.dist(values[:2], values[2:]))
    elif kind in ("polygon", "oriented_rectangle"):
        if isinstance(points, list) and len(points) < 3:
            return None  # labelme draws nothing for it
        polygon = require_polygon(points, where)
    else:
        raise DataError(f"{where}: expected a polygon, rectangle, circle, mask, point or line, got {shown(kind)}")
    return ObjectRecord(name, polygon_box(polygon), Outline(polygons=[polygon]))


def circle_polygon(x: float, y: float, radius: float, radius_y: float | None = None, angle: float = 0) -> list[float]:
    """Corners x y x y ... of a circle or an ellipse.

    Args:
        x: Horizontal center.
        y: Vertical center.
        radius: Radius, or the horizontal radius of an ellipse.
        radius_y: Vertical radius of an ellipse.
        angle: Rotation in radians.
    """
    turn = np.linspace(0, 2 * np.pi, _CIRCLE_CORNERS, endpoint=False)
    dx, dy = radius * np.cos(turn), (radius if radius_y is None else radius_y) * np.sin(turn)
    corners = np.stack([x + dx * np.cos(angle) - dy * np.sin(angle), y + dx * np.sin(angle) + dy * np.cos(angle)], -1)
    return [float(value) for value in corners.ravel()]


def _mask_object(name: str, shape: dict[str, Any], size: tuple[int, int], where: str) -> ObjectRecord | None:
    """A mask: a PNG of the pixels between two points."""
    points = require_list(shape.get("points"), where, "points")
    values = require_numbers(
        [value for pair in points[:1] for value in require_list(pair, where, "point")], where, "points"
    )
    crop = decode_png_mask(shape.get("mask"), where)
    if len(values) != 2:
        raise DataError(f"{where}: expected two points of a mask, got {len(values)} numbers")
    x, y = (round(value) for value in values)
    height, width = size
    crop = crop[: height - y, : width - x]  # labelme's own files may be a pixel too large
    box = crop_box(crop, (x, y))
    return None if box is None else ObjectRecord(name, box, crop_outline(crop, (x, y), size, name=where))


def decode_png_mask(text: object, where: str) -> NDArray[np.bool_]:
    """The pixels (h, w) of a base64 text of a PNG that are not 0.

    Raises:
        DataError: It is no such text, or the image is too large.
    """
    if not isinstance(text, str):
        raise DataError(f"{where}: expected a mask as PNG in base64, got {shown(text)}")
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise DataError(f"{where}: expected a mask as PNG in base64, got other text") from error
    return png_pixels(content, where)


def png_pixels(content: bytes, where: str) -> NDArray[np.bool_]:
    """The pixels (h, w) of a PNG that are neither 0 nor transparent.

    Raises:
        DataError: The image is broken, or too large.
    """
    with opened_mask(content, name=where, formats=("PNG",)) as image:
        has_alpha = image.mode in ("RGBA", "LA") or "transparency" in image.info
        values = np.asarray(image.convert("RGBA"))[..., 3] if has_alpha else np.asarray(image.convert("L"))
    return np.asarray(values > 0)
