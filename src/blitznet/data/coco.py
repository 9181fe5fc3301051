"""Reader of COCO datasets: annotations/instances_SPLIT.json, images in SPLIT/ or images/SPLIT/."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource
from blitznet.data.dataset import MAX_COORDINATE, Annotation, AnnotationArrays, IndexedDataset, UnknownClassError
from blitznet.data.masks import RasterizedMask, parse_compressed_rle
from blitznet.data.outlines import Outline, Outlines


@dataclass(frozen=True, eq=False)
class CocoDataset(IndexedDataset):
    """A split of COCO; class maps are rasterized from the instances on demand."""

    sizes: NDArray[np.int64]
    """(N, 2) height and width of each image, from the JSON file"""
    outlines: Outlines

    def _mask(self, index: int, image: ImageSource) -> RasterizedMask | None:  # noqa: ARG002
        if self.annotations is None:
            return None
        objects = self.outlines.mask_objects(
            self.annotations, self.annotations.image_slice(index), np.ones(4, np.float32)
        )
        height, width = map(int, self.sizes[index])
        return None if objects is None else RasterizedMask(self.ids[index], (height, width), objects)


def open_coco(root: Path, split: str | None, *, title: str) -> CocoDataset:
    """Open a split of a COCO folder; class names are in the order of the category ids.

    Class maps are rasterized in the order of annotations, where the later one wins (paper, section 4.1); crowds are
    ignored. A dataset without outlines has no masks. In a dataset with outlines, an image without objects is all
    background, and an image with objects but without outlines has no mask.

    Raises:
        DataError: The JSON file is missing or broken. Errors of single annotations are in the dataset's `errors`.
    """
    path = _annotation_file(root, split)
    content = _load(path)
    images = _list(content, "images", path)
    names, labels = _categories(_list(content, "categories", path), path)
    file_names = tuple(_file_name(image, path) for image in images)
    groups = _group(images, _list(content, "annotations", path), path)
    errors: dict[int, DataError] = {}
    annotations: list[list[Annotation]] = []
    outlines: list[Outline] = []
    for index, group in enumerate(groups):
        try:
            parsed = [_parse(item, labels, path) for item in group]
        except DataError as error:
            errors[index] = error
            parsed = []
        annotations.append([annotation for annotation, _ in parsed])
        outlines.extend(outline for _, outline in parsed)
    folder = next((f for f in (root / str(split), root / "images" / str(split)) if f.is_dir()), root / "images")
    return CocoDataset(
        title=title,
        class_names=names,
        ids=tuple(str(PurePosixPath(name).with_suffix("")) for name in file_names),
        image_paths=tuple(str(folder / name) for name in file_names),
        annotations=AnnotationArrays.pack(annotations),
        errors=errors,
        sizes=np.asarray([_size(image, path) for image in images], np.int64).reshape(-1, 2),
        outlines=Outlines.pack(outlines),
    )


def _annotation_file(root: Path, split: str | None) -> Path:
    path = root / "annotations" / f"instances_{split}.json"
    if split is None or not path.is_file():
        available = sorted(p.stem.removeprefix("instances_") for p in (root / "annotations").glob("instances_*.json"))
        problem = f"there is no annotations/instances_{split}.json" if split else "expected a split"
        raise DataError(f"{root}: {problem}; splits here: {', '.join(available) or 'none'}; write coco:{root}@SPLIT")
    return path


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise DataError(f"{path}: expected a JSON file ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected images, annotations and categories, got a {type(content).__name__}")
    return content


def _list(content: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    items = content.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise DataError(f"{path}: expected a list '{key}' of objects; is it a COCO instances file?")
    return items


def _categories(items: list[dict[str, Any]], path: Path) -> tuple[tuple[str, ...], dict[int, int]]:
    """Class names by ascending category id, and the label of each id."""
    try:
        pairs = sorted((int(item["id"]), str(item["name"])) for item in items)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: expected an id and a name for every category") from error
    if len({key for key, _ in pairs}) < len(pairs) or len({name for _, name in pairs}) < len(pairs):
        raise DataError(f"{path}: expected unique category ids and names, got duplicates; remove them")
    return tuple(name for _, name in pairs), {key: label for label, (key, _) in enumerate(pairs)}


def _group(images: list[dict[str, Any]], items: list[dict[str, Any]], path: Path) -> list[list[dict[str, Any]]]:
    """The annotations of each image, in the order of the file."""
    index = {_key(image.get("id")): k for k, image in enumerate(images)}
    if len(index) < len(images):
        raise DataError(f"{path}: expected unique image ids, got duplicates; remove them")
    groups: list[list[dict[str, Any]]] = [[] for _ in images]
    for item in items:
        row = index.get(_key(item.get("image_id")))
        if row is None:
            raise DataError(
                f"{path}: annotation {item.get('id')}: expected an image_id of `images`, got {item.get('image_id')}; "
                "add the image or delete the annotation"
            )
        groups[row].append(item)
    return groups


def _key(value: object) -> int:
    """An integer id; -1 for anything else."""
    return value if isinstance(value, int) else -1


def _file_name(image: dict[str, Any], path: Path) -> str:
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        raise DataError(f"{path}: image {image.get('id')}: expected a file_name, got none; add it")
    return name


def _size(image: dict[str, Any], path: Path) -> tuple[int, int]:
    height, width = image.get("height"), image.get("width")
    if not isinstance(height, int) or not isinstance(width, int) or height < 1 or width < 1:
        raise DataError(f"{path}: image {image.get('id')}: expected width and height as positive integers")
    return height, width


def _parse(item: dict[str, Any], labels: dict[int, int], path: Path) -> tuple[Annotation, Outline]:
    where = f"{path}: annotation {item.get('id')}"
    label = labels.get(_key(item.get("category_id")))
    if label is None:
        raise UnknownClassError(
            f"{where}: expected a category_id of `categories`, got {item.get('category_id')}; add the category"
        )
    try:
        x, y, width, height = (float(value) for value in item["bbox"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: expected bbox as four numbers x y width height") from error
    if not (np.abs([x, y, width, height]) < MAX_COORDINATE).all():
        raise DataError(f"{where}: expected bbox in pixels, got {item['bbox']}")
    box = (x, y, x + width, y + height)
    annotation = Annotation(box, label, difficult=bool(item.get("ignore", 0)), crowd=bool(item.get("iscrowd", 0)))
    return annotation, _parse_outline(item.get("segmentation"), where)


def _parse_outline(value: object, where: str) -> Outline:
    try:
        if isinstance(value, dict):
            counts = value["counts"]
            runs = parse_compressed_rle(counts) if isinstance(counts, str) else [int(count) for count in counts]
            return Outline(runs=np.asarray(runs, np.int64))
        polygons = [_parse_polygon(polygon) for polygon in value] if isinstance(value, list) else []
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: expected segmentation as polygons x y x y ... or run lengths") from error
    return Outline(polygons=[polygon for polygon in polygons if len(polygon) >= 6])


def _parse_polygon(values: Sequence[Any]) -> list[float]:
    polygon = [float(value) for value in values]
    if len(polygon) % 2:
        raise ValueError
    return polygon
