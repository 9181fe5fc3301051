"""Reader of COCO datasets: a JSON file of images, annotations and categories, as COCO and labeling tools write it."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blitznet.core.errors import DataError, shown
from blitznet.data.annotation_files import (
    polygon_box,
    read_json,
    require_flag,
    require_list,
    require_name,
    require_size,
)
from blitznet.data.dataset import MAX_COORDINATE, Annotation, AnnotationArrays, UnknownClassError
from blitznet.data.image_files import ImageFinder, strip_suffix
from blitznet.data.masks import BoxTuple, decode_coco_rle, parse_compressed_rle, require_run_lengths
from blitznet.data.outlines import Outline, Outlines
from blitznet.data.records import BACKGROUND_NAMES, OutlineDataset, crop_box
from blitznet.data.splits import find_split, is_split_name, split_aliases

_ANNOTATION_FOLDERS = ("annotations", "Annotations", "labels", "ann", "json")
ROBOFLOW_FILE = "_annotations.coco.json"
_COCO_FILE_NAME = re.compile(r"COCO_(\w+)_\d{12}\.")
_SEPARATORS = re.compile(r"[\\/]+")

CocoId = int | str
"""an id as JSON has it; 1.0 is 1"""


def open_coco(root: Path, split: str | None, *, title: str) -> OutlineDataset:
    """Open a COCO file, or a split of a COCO folder; class names are in the order of the category ids.

    Class maps are rasterized in the order of annotations, where the later one wins (paper, section 4.1); crowds are
    ignored. A dataset without outlines has no masks. In a dataset with outlines, an image without objects is all
    background, and an image with objects but without outlines has no mask. A category without annotations that groups
    others, as Roboflow writes, is no class; neither is an unused background. Entries of one file are joined.

    Args:
        root: The folder, or the JSON file itself.
        split: Name of a split, or of a JSON file in the folder. It may be omitted if there is one JSON file.
        title: Title of the dataset.

    Raises:
        DataError: The JSON file is missing or broken. Errors of single annotations are in the dataset's `errors`.
    """
    path = _annotation_file(root, split)
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected images, annotations and categories, got a {type(content).__name__}")
    images, items = _list(content, "images", path), _list(content, "annotations", path)
    if not images:
        raise DataError(f"{path}: expected images, got an empty list")
    names, labels = _categories(_list(content, "categories", path), items, path)
    groups = _group(images, items, path)
    images, groups, repeated = _join(images, groups, path)
    errors: dict[int, DataError] = {}
    annotations: list[list[Annotation]] = []
    outlines: list[Outline] = []
    for index, group in enumerate(groups):
        try:
            parsed = [_parse(item, labels, _size(images[index]), path) for item in group]
        except DataError as error:
            errors[index] = error
            parsed = []
        annotations.append([annotation for annotation, _ in parsed])
        outlines.extend(outline for _, outline in parsed)
    file_names = [_file_name(image, path) for image in images]
    paths = _finder(root, split, path, file_names[0]).find_all(file_names)
    return OutlineDataset(
        title=title,
        class_names=names,
        ids=_sample_ids(file_names),
        image_paths=tuple(str(paths[name]) for name in file_names),
        annotations=AnnotationArrays.pack(annotations),
        errors=errors,
        assumed_empty=frozenset(index for index, group in enumerate(groups) if not group),
        label_places=(str(path),),
        remarks={"images listed several times, joined": repeated} if repeated else {},
        declared_sizes=np.asarray([_size(image) for image in images], np.int64).reshape(-1, 2),
        outlines=Outlines.pack(outlines),
    )


def coco_files(root: Path) -> dict[str, Path]:
    """The JSON files in all places where tools write them.

    These are `annotations/instances_SPLIT.json`, any other JSON file in `annotations`, `SPLIT/_annotations.coco.json`,
    JSON files in the folder of a split, and JSON files in the root.

    Returns:
        Split -> file, sorted by name.
    """
    files: dict[str, Path] = {}
    for path in sorted(root.glob("*.json")):
        files[path.stem] = path
    folders = [path for path in root.glob("*") if path.name in _ANNOTATION_FOLDERS or is_split_name(path.name)]
    nested = [folder / "annotations" for folder in folders if is_split_name(folder.name)]
    for path in sorted(path for folder in (*folders, *nested) for path in folder.glob("*.json")):
        name = path.stem.removeprefix("instances_")
        if path.parent in (*nested, *(folder for folder in folders if is_split_name(folder.name))):
            name = path.relative_to(root).parts[0]
        ending = name.rpartition("_")[2]  # custom_train.json of some scripts
        files[ending if is_split_name(ending) and ending not in files else name] = path
    return {split: files[split] for split in sorted(files)}


def _annotation_file(root: Path, split: str | None) -> Path:
    if root.is_file():
        return root
    if split is not None:
        path = next((path for path in _split_files(root, split) if path.is_file()), None)
        if path is not None:
            return path
    files = coco_files(root)
    if split is None and len(files) == 1:
        return next(iter(files.values()))
    name = find_split(split or "", files)
    if name is not None:
        return files[name]
    problem = f"there is no annotations/instances_{split}.json" if split else "expected a split"
    listed = ", ".join(str(path.relative_to(root)) for path in files.values()) or "none"
    splits = ", ".join(files) or "none"
    raise DataError(
        f"{root}: {problem}; splits here: {splits}; JSON files here: {listed}; write coco:{root}@SPLIT "
        "or coco:FILE.json"
    )


def _split_files(root: Path, split: str) -> Iterator[Path]:
    """Where the annotation file of a split may be."""
    for name in split_aliases(split):
        for folder in (root / "annotations", root / "Annotations", root):
            yield folder / f"instances_{name}.json"
            yield folder / f"{name}.json"
        folder = root / name
        yield folder / ROBOFLOW_FILE
        files = sorted(folder.glob("*.json")) if folder.is_dir() else []
        if len(files) == 1:
            yield files[0]
        yield from sorted((folder / "annotations").glob("*.json"))[:1]


def _dataset_folder(root: Path, path: Path) -> Path:
    """The folder to search for images."""
    if not root.is_file():
        return root
    return path.parent.parent if path.parent.name in _ANNOTATION_FOLDERS else path.parent


def _finder(root: Path, split: str | None, path: Path, file_name: str) -> ImageFinder:
    """The folders where tools leave images, in the order in which they are searched.

    If the images of a split have a folder, those of other splits are not searched: they may have the same names.
    """
    base = _dataset_folder(root, path)
    parent = path.parent
    names = list(split_aliases(split)) if split else []
    stem = path.stem.removeprefix("instances_")
    coco = _COCO_FILE_NAME.match(_SEPARATORS.split(file_name)[-1])
    names += [stem, *([coco[1]] if coco else [])]
    folders = [folder for name in dict.fromkeys(names) for folder in (base / name, base / "images" / name)]
    folders += [base / f"{name}{year}" for name in dict.fromkeys(names) for year in (2014, 2017)]
    beside = [parent, parent / "images", parent.parent / "images"]
    folders = [*folders, *(beside if parent != base / "annotations" else []), base / "images"]
    existing = [folder for folder in folders if folder.is_dir()]
    own = {folder.name for folder in existing if is_split_name(folder.name)}
    return ImageFinder(
        base,
        existing or [base / "images"],
        is_skipped=lambda name: bool(own) and is_split_name(name) and name not in own,
    )


def _plain_name(file_name: str) -> str:
    """A file name with `/` between folders, without `.` and `..`."""
    return "/".join(part for part in _SEPARATORS.split(file_name) if part not in ("", ".", "..")) or file_name


def _sample_ids(file_names: Sequence[str]) -> tuple[str, ...]:
    """Ids of the samples: file names without suffix, or with it where two names differ in nothing else."""
    names = [_plain_name(name) for name in file_names]
    stems = [strip_suffix(name) for name in names]
    counts = Counter(stems)
    return tuple(stem if counts[stem] == 1 else name for stem, name in zip(stems, names, strict=True))


def _list(content: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    items = content.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise DataError(f"{path}: expected a list '{key}' of objects; is it a COCO instances file?")
    return items


def _categories(
    items: list[dict[str, Any]], annotations: list[dict[str, Any]], path: Path
) -> tuple[tuple[str, ...], dict[CocoId, int]]:
    """Class names by ascending category id, and the label of each id."""
    named: list[tuple[CocoId, str]] = []
    for item in items:
        key, name = _key(item.get("id")), item.get("name")
        if key is None or name is None:
            raise DataError(f"{path}: expected an id and a name for every category, got {shown(item)}")
        named.append((key, require_name(name, f"{path}: category {key}")))
    used = {_key(item.get("category_id")) for item in annotations}
    members: dict[str, set[CocoId | None]] = {}
    for item in items:
        members.setdefault(shown(item.get("supercategory")), set()).add(_key(item.get("id")))
    pairs = sorted(
        (
            (key, name)
            for key, name in named
            if key in used or not (name in BACKGROUND_NAMES or members.get(name, set()) - {key})
        ),
        key=lambda pair: (isinstance(pair[0], str), pair[0]),
    )
    if len({key for key, _ in pairs}) < len(pairs) or len({name for _, name in pairs}) < len(pairs):
        raise DataError(f"{path}: expected unique category ids and names, got duplicates; remove them")
    if not pairs:
        raise DataError(f"{path}: expected at least one category, got none")
    return tuple(name for _, name in pairs), {key: label for label, (key, _) in enumerate(pairs)}


def _group(images: list[dict[str, Any]], items: list[dict[str, Any]], path: Path) -> list[list[dict[str, Any]]]:
    """The annotations of each image, in the order of the file."""
    index: dict[CocoId, int] = {}
    for row, image in enumerate(images):
        key = _key(image.get("id"))
        if key is None:
            raise DataError(
                f"{path}: image {shown(image.get('file_name'))}: expected a whole number as id, got "
                f"{shown(image.get('id'))}"
            )
        if key in index:
            raise DataError(f"{path}: expected unique image ids, got {key} twice; remove the duplicates")
        index[key] = row
    groups: list[list[dict[str, Any]]] = [[] for _ in images]
    orphans = []
    for item in items:
        key = _key(item.get("image_id"))
        if key in index:
            groups[index[key]].append(item)
        else:
            orphans.append(item)
    if orphans:
        more = f" (and {len(orphans) - 1} more)" if len(orphans) > 1 else ""
        raise DataError(
            f"{path}: annotation {shown(orphans[0].get('id'))}: expected an image_id of `images`, got "
            f"{shown(orphans[0].get('image_id'))}{more}; add the image or delete the annotation"
        )
    return groups


def _join(
    images: list[dict[str, Any]], groups: list[list[dict[str, Any]]], path: Path
) -> tuple[list[dict[str, Any]], list[list[dict[str, Any]]], tuple[str, ...]]:
    """The images and their annotations, with one entry for each file; and the names that are listed several times.

    Each entry of such an image has a part of its objects, and would teach that the others are background.
    """
    rows: dict[str, int] = {}
    joined: list[list[dict[str, Any]]] = []
    first: list[dict[str, Any]] = []
    repeated: dict[str, None] = {}
    for image, group in zip(images, groups, strict=True):
        name = _plain_name(_file_name(image, path))
        if name in rows:
            joined[rows[name]] += group
            repeated[name] = None
        else:
            rows[name] = len(first)
            first.append(image)
            joined.append(list(group))
    return first, joined, tuple(repeated)


def _key(value: object) -> CocoId | None:
    """An id: a whole number, or a text; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def _file_name(image: dict[str, Any], path: Path) -> str:
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        raise DataError(f"{path}: image {shown(image.get('id'))}: expected a file_name, got none; add it")
    return name


def _size(image: dict[str, Any]) -> tuple[int, int]:
    """(H, W) that an image's entry states; 0 if it states none."""
    try:
        return require_size(image.get("height"), image.get("width"), "")
    except DataError:
        return 0, 0


def _parse(
    item: dict[str, Any], labels: dict[CocoId, int], size: tuple[int, int], path: Path
) -> tuple[Annotation, Outline]:
    """The object of an annotation; `size` is the (H, W) that the image's entry states, 0 if it states none."""
    where = f"{path}: annotation {shown(item.get('id'))}"
    key = _key(item.get("category_id"))
    label = None if key is None else labels.get(key)
    if label is None:
        raise UnknownClassError(
            f"{where}: expected a category_id of `categories`, got {shown(item.get('category_id'))}; add the category"
        )
    outline = _parse_outline(item.get("segmentation"), size, where)
    box = _outline_box(outline, size) if item.get("bbox") in (None, []) else None
    annotation = Annotation(
        box or _parse_box(item.get("bbox"), where),
        label,
        difficult=require_flag(item.get("ignore"), where, "ignore"),
        crowd=require_flag(item.get("iscrowd"), where, "iscrowd"),
    )
    return annotation, outline


def _parse_box(value: object, where: str) -> BoxTuple:
    try:
        x, y, width, height = map(float, require_list(value, where, "bbox"))
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: expected bbox as four numbers x y width height, got {shown(value)}") from error
    if not all(abs(number) < MAX_COORDINATE for number in (x, y, width, height)):  # also refuses NaN
        raise DataError(f"{where}: expected bbox in pixels, got {shown(value)}")
    return x, y, x + width, y + height


def _outline_box(outline: Outline, size: tuple[int, int]) -> BoxTuple | None:
    """The box around an outline, for an annotation without one; None if the outline has none either."""
    if outline.polygons:
        return polygon_box([value for polygon in outline.polygons for value in polygon])
    if outline.runs is None or not min(size):
        return None
    return crop_box(decode_coco_rle(outline.runs, size, name="segmentation"), (0, 0))


def _parse_outline(value: object, size: tuple[int, int], where: str) -> Outline:
    try:
        if isinstance(value, dict):
            return Outline(runs=_parse_runs(value, size))
        if isinstance(value, list) and value and isinstance(value[0], (int, float)):
            value = [value]  # one polygon, not in a list
        polygons = [_parse_polygon(polygon) for polygon in value] if isinstance(value, list) else []
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: expected segmentation as polygons x y x y ... or run lengths") from error
    return Outline(polygons=[polygon for polygon in polygons if len(polygon) >= 6])


def _parse_runs(value: dict[str, Any], size: tuple[int, int]) -> NDArray[np.int64]:
    """Run lengths that fit the image, if its entry states a size."""
    counts, stated = value["counts"], value.get("size")
    if min(size) and isinstance(stated, list) and stated != list(size):
        raise DataError(f"segmentation: expected size {list(size)}, height and width of the image, got {shown(stated)}")
    if isinstance(counts, str):
        runs = parse_compressed_rle(counts)
    else:
        runs = np.asarray(list(map(int, require_list(counts, "segmentation", "counts"))), np.int64)
    if min(size):
        require_run_lengths(runs, size[0] * size[1], name="segmentation")
    return runs


def _parse_polygon(values: object) -> list[float]:
    polygon = [float(value) for value in require_list(values, "segmentation", "polygon")]
    if len(polygon) % 2:
        raise ValueError
    return polygon
