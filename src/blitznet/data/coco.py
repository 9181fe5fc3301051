"""COCO: annotations/instances_SPLIT.json with the images in SPLIT/ or images/SPLIT/."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource
from blitznet.data.dataset import MAX_SIDE, Annotation, IndexedDataset, Objects, UnknownClassError
from blitznet.data.masks import RasterizedMask, unpack_runs
from blitznet.data.outlines import Outline, Outlines


@dataclass(frozen=True, eq=False)
class CocoDataset(IndexedDataset):
    """A split of COCO, its class maps painted from the instances when they are wanted."""

    sizes: NDArray[np.int64]
    """(N, 2) H W as the file says"""
    outlines: Outlines

    def _mask(self, index: int, image: ImageSource) -> RasterizedMask | None:  # noqa: ARG002
        if self.objects is None:
            return None
        shapes = self.outlines.shapes(self.objects, self.objects.span(index), np.ones(4, np.float32))
        height, width = map(int, self.sizes[index])
        return None if shapes is None else RasterizedMask(self.ids[index], (height, width), shapes)


def open_coco(root: Path, split: str | None, *, title: str) -> CocoDataset:
    """A split of the COCO folder under `root`; names in the order of the category ids.

    Class maps are painted in the order of annotations, the later wins (paper 4.1); crowds are void. A file
    without any outline has no masks; with some, a image without objects is all background, and a image none of
    whose objects has an outline has no mask.
    """
    path = _annotation_file(root, split)
    content = _load(path)
    images = _list(content, "images", path)
    names, labels = _categories(_list(content, "categories", path), path)
    ids = tuple(_file_name(image, path) for image in images)
    groups = _group(images, _list(content, "annotations", path), path)
    errors: dict[int, DataError] = {}
    rows: list[list[Annotation]] = []
    outlines: list[Outline] = []
    for index, group in enumerate(groups):
        try:
            parsed = [_parse(annotation, labels, path) for annotation in group]
        except DataError as error:
            errors[index] = error
            parsed = []
        rows.append([row for row, _ in parsed])
        outlines.extend(outline for _, outline in parsed)
    folder = next((f for f in (root / str(split), root / "images" / str(split)) if f.is_dir()), root / "images")
    return CocoDataset(
        title=title,
        class_names=names,
        ids=tuple(str(PurePosixPath(name).with_suffix("")) for name in ids),
        images=tuple(str(folder / name) for name in ids),
        objects=Objects.pack(rows),
        errors=errors,
        sizes=np.asarray([_size(image, path) for image in images], np.int64).reshape(-1, 2),
        outlines=Outlines.pack(outlines),
    )


def _annotation_file(root: Path, split: str | None) -> Path:
    path = root / "annotations" / f"instances_{split}.json"
    if split is None or not path.is_file():
        there = sorted(p.stem.removeprefix("instances_") for p in (root / "annotations").glob("instances_*.json"))
        expected = f"there is no annotations/instances_{split}.json" if split else "expected a split"
        raise DataError(f"{root}: {expected}; splits here: {', '.join(there) or 'none'}; write coco:{root}@SPLIT")
    return path


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise DataError(f"{path}: not a JSON file ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected images, annotations and categories, got a {type(content).__name__}")
    return content


def _list(content: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    items = content.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise DataError(f"{path}: expected a list '{key}' of objects; is it a COCO instances file?")
    return items


def _categories(items: list[dict[str, Any]], path: Path) -> tuple[tuple[str, ...], dict[int, int]]:
    """Names by rising id, and the label of each sparse id."""
    try:
        pairs = sorted((int(item["id"]), str(item["name"])) for item in items)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: every category wants an id and a name") from error
    if len({key for key, _ in pairs}) < len(pairs) or len({name for _, name in pairs}) < len(pairs):
        raise DataError(f"{path}: expected every category id and name once; remove the repeated ones")
    return tuple(name for _, name in pairs), {key: label for label, (key, _) in enumerate(pairs)}


def _group(images: list[dict[str, Any]], items: list[dict[str, Any]], path: Path) -> list[list[dict[str, Any]]]:
    """The annotations of each image, in the order of the file."""
    index = {_key(image.get("id")): k for k, image in enumerate(images)}
    if len(index) < len(images):
        raise DataError(f"{path}: expected every image id once; remove the repeated ones")
    groups: list[list[dict[str, Any]]] = [[] for _ in images]
    for item in items:
        at = index.get(_key(item.get("image_id")))
        if at is None:
            raise DataError(
                f"{path}: annotation {item.get('id')} is of image {item.get('image_id')}, which is not in the list"
            )
        groups[at].append(item)
    return groups


def _key(value: object) -> int:
    """An id as COCO writes them; what is no whole number is none."""
    return value if isinstance(value, int) else -1


def _file_name(image: dict[str, Any], path: Path) -> str:
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        raise DataError(f"{path}: image {image.get('id')} has no file_name")
    return name


def _size(image: dict[str, Any], path: Path) -> tuple[int, int]:
    height, width = image.get("height"), image.get("width")
    if not isinstance(height, int) or not isinstance(width, int) or height < 1 or width < 1:
        raise DataError(f"{path}: image {image.get('id')} wants width and height as whole numbers")
    return height, width


def _parse(item: dict[str, Any], labels: dict[int, int], path: Path) -> tuple[Annotation, Outline]:
    where = f"{path}: annotation {item.get('id')}"
    label = labels.get(_key(item.get("category_id")))
    if label is None:
        raise UnknownClassError(f"{where} has category {item.get('category_id')}, which is not in the list")
    try:
        x, y, width, height = (float(side) for side in item["bbox"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where} wants bbox as four numbers x y width height") from error
    if not (np.abs([x, y, width, height]) < MAX_SIDE).all():
        raise DataError(f"{where} has a bbox that is no pixels: {item['bbox']}")
    box = (x, y, x + width, y + height)
    row = Annotation(box, label, difficult=bool(item.get("ignore", 0)), crowd=bool(item.get("iscrowd", 0)))
    return row, _parse_outline(item.get("segmentation"), where)


def _parse_outline(value: object, where: str) -> Outline:
    try:
        if isinstance(value, dict):
            counts = value["counts"]
            runs = unpack_runs(counts) if isinstance(counts, str) else [int(count) for count in counts]
            return Outline(runs=np.asarray(runs, np.int64))
        polygons = [_parse_polygon(polygon) for polygon in value] if isinstance(value, list) else []
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where} wants segmentation as polygons x y x y ... or run lengths") from error
    return Outline(polygons=[polygon for polygon in polygons if len(polygon) >= 6])


def _parse_polygon(values: Sequence[Any]) -> list[float]:
    polygon = [float(value) for value in values]
    if len(polygon) % 2:
        raise ValueError
    return polygon
