"""Reader of Hugging Face datasets: image folders with a metadata file, and Parquet files as `datasets` writes them."""

import json
import re
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from blitznet.core.arrays import IGNORE_INDEX, ClassMap
from blitznet.core.errors import BlitzNetError, DataError, MissingExtra, shown
from blitznet.core.files import require_file
from blitznet.core.image import ImageSource, opened_mask
from blitznet.core.sample import MaskSource
from blitznet.data.annotation_files import (
    read_csv,
    read_json,
    require_dict,
    require_list,
    require_name,
    require_numbers,
)
from blitznet.data.dataset import IndexedDataset, read_bytes, read_text
from blitznet.data.image_files import ImageFinder, file_exists, strip_suffix
from blitznet.data.masks import UnknownValueError
from blitznet.data.records import ImageRecord, ObjectRecord, OutlineDataset, pack_records
from blitznet.data.splits import find_split, is_split_name

METADATA_FILES = ("metadata.jsonl", "metadata.csv")
_MAX_METADATA = 1 << 30
_MAX_CLASSES = 1 << 20
_BOX_KEYS = ("bbox", "bboxes", "box", "boxes")
_NAME_KEYS = ("categories", "category", "label", "labels", "class", "class_name", "category_id")
_MASK_COLUMNS = ("label", "mask", "annotation", "labels", "segmentation_mask", "semantic_segmentation")
_SHARD = re.compile(r"(.+?)-\d{5}-of-\d{5}(?:-[0-9a-f]+)?$")
_MAX_ROWS, _MAX_ROW_GROUP = 10_000_000, 4 << 30
"""rows and bytes of a row group that are read at once, at most"""
_MAX_IMAGE = 1 << 30
"""bytes of an image file that a row names, at most"""
_MAX_DEPTH = 16
"""levels of nested features"""
_ROW_GROUPS = 4
"""row groups kept in memory by each process: a few hundred images"""


def open_huggingface(root: Path, split: str | None, *, title: str) -> IndexedDataset:
    """Open an image folder with metadata.jsonl (or .csv), or Parquet files `data/SPLIT-00000-of-00001.parquet`.

    Boxes are in a column `objects` with `bbox` (x y width height in pixels) and `categories`, as `datasets` documents
    for object detection. A column of masks, `label` or `annotation`, is a class map; 0 is background. Class names are
    those of the column's ClassLabel, else those of `classes.txt`, else the categories themselves. The split may be
    omitted if there is one.

    Raises:
        DataError: The files or the split are missing or broken. Errors of single rows are in the dataset's `errors`.
        MissingExtra: pyarrow is not installed.
    """
    available = huggingface_splits(root)
    name = available[0] if split is None and len(available) == 1 else find_split(split or "", available)
    if available and name is None:
        problem = f"there is no split '{split}'" if split else "expected a split"
        raise DataError(f"{root}: {problem}; splits here: {', '.join(available)}; write huggingface:{root}@SPLIT")
    if split is not None and not available:
        raise DataError(f"{root}: there is no split '{split}'; splits here: none (leave @SPLIT out)")
    files = parquet_files(root)
    if files:
        return _open_parquet(files[name or "train"], root, title)
    folder = root / name if name else root
    path = next((folder / file for file in METADATA_FILES if (folder / file).is_file()), None)
    if path is None:
        raise DataError(f"{folder}: expected {METADATA_FILES[0]} or Parquet files, got none")
    rows = list(_read_rows(path))
    finder = ImageFinder(folder)
    names = _class_list(root)
    file_names = [_file_name(row, f"{path}:{number}") for number, row in enumerate(rows, 1)]
    paths = finder.find_all(file_names)
    records = [
        _record(row, file_name, f"{path}:{number}", str(paths[file_name]), names)
        for number, (row, file_name) in enumerate(zip(rows, file_names, strict=True), 1)
    ]
    return pack_records(records, title=title, class_names=names)


def huggingface_splits(root: Path) -> tuple[str, ...]:
    """Splits of the Parquet files, or the folders that contain a metadata file."""
    files = parquet_files(root)
    if files:
        return tuple(files)
    if not root.is_dir():
        return ()
    folders = [path for path in root.iterdir() if path.is_dir() and is_split_name(path.name)]
    return tuple(sorted(p.name for p in folders if any((p / name).is_file() for name in METADATA_FILES)))


def parquet_files(root: Path) -> dict[str, list[Path]]:
    """Split -> Parquet files, in order."""
    if root.is_file():
        return {"train": [root]} if root.suffix == ".parquet" else {}
    splits: dict[str, list[Path]] = {}
    for path in sorted([*root.glob("*.parquet"), *root.glob("data/*.parquet"), *root.glob("*/*.parquet")]):
        match = _SHARD.match(path.stem)
        inside = path.parent.name if path.parent not in (root, root / "data") else None
        name = match[1] if match else inside or path.stem
        if path not in splits.setdefault(name, []):
            splits[name].append(path)
    return splits


def _class_list(root: Path) -> tuple[str, ...] | None:
    path = root / "classes.txt"
    if not path.is_file():
        return None
    return tuple(line.strip() for line in read_text(path, limit=_MAX_CLASSES).splitlines() if line.strip())


def _read_rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix == ".csv":
        for row in read_csv(path):
            yield {key: _parse_cell(value) for key, value in row.items()}
        return
    for number, line in enumerate(read_text(path, limit=_MAX_METADATA).splitlines(), 1):
        if line.strip():
            try:
                content = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}:{number}: expected JSON ({error})") from error
            yield require_dict(content, f"{path}:{number}", "row")


def _parse_cell(text: str) -> Any:
    if text[:1] not in ("{", "["):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _file_name(row: dict[str, Any], where: str) -> str:
    file_name = row.get("file_name")
    if not isinstance(file_name, str) or not file_name:
        raise DataError(f"{where}: expected a file_name, got none")
    return file_name


def _record(row: dict[str, Any], file_name: str, where: str, path: str, names: Sequence[str] | None) -> ImageRecord:
    name = strip_suffix(file_name)
    try:
        objects = row.get("objects")
        if objects is None:
            return ImageRecord(name, path, None, None)
        return ImageRecord(name, path, None, tuple(parse_objects(objects, where, names)))
    except DataError as error:
        return ImageRecord(name, path, None, (), error)


def parse_objects(value: object, where: str, names: Sequence[str] | None) -> Iterator[ObjectRecord]:
    """The objects of a column: a dict of lists, or a list of dicts.

    Args:
        value: The column's value in one row.
        where: File and row named in errors.
        names: Class names that numbers stand for; None: numbers are their own names.

    Raises:
        DataError: The value has another form.
    """
    if isinstance(value, list):
        items = [require_dict(item, where, "object") for item in value]
        boxes = [_first(item, _BOX_KEYS) for item in items]
        categories = [_first(item, _NAME_KEYS) for item in items]
    else:
        columns = require_dict(value, where, "objects")
        boxes = require_list(_first(columns, _BOX_KEYS), where, "bbox")
        categories = require_list(_first(columns, _NAME_KEYS), where, "categories")
    if len(boxes) != len(categories):
        raise DataError(f"{where}: expected a category for each box, got {len(categories)} for {len(boxes)}")
    for box, category in zip(boxes, categories, strict=True):
        values = require_numbers(box, where, "bbox")
        if len(values) != 4:
            raise DataError(f"{where}: expected bbox as x y width height, got {len(values)} numbers")
        x, y, width, height = values
        yield ObjectRecord(_category_name(category, names, where), (x, y, x + width, y + height))


def _first(columns: dict[str, Any], keys: Sequence[str]) -> Any:
    return next((columns[key] for key in keys if columns.get(key) is not None), None)


def _category_name(category: object, names: Sequence[str] | None, where: str) -> str:
    if isinstance(category, str) and category:
        return category
    if not isinstance(category, int) or isinstance(category, bool) or category < 0:
        raise DataError(f"{where}: expected a category as name or number, got {shown(category)}")
    if names is None:
        return str(category)
    if category >= len(names):
        raise DataError(f"{where}: expected a category below {len(names)}, got {category}")
    return names[category]


@dataclass(slots=True)
class _RowGroups:
    """Rows of Parquet files; the last row groups stay in memory."""

    files: tuple[str, ...]
    columns: tuple[str, ...]
    cache: "OrderedDict[tuple[int, int], list[dict[str, Any]]]" = field(default_factory=OrderedDict)

    def row(self, file: int, group: int, index: int) -> dict[str, Any]:
        """One row of a row group."""
        key = file, group
        if key not in self.cache:
            path = Path(self.files[file])
            self.cache[key] = read_rows(path, _open_file(path), group, self.columns).to_pylist()
            if len(self.cache) > _ROW_GROUPS:
                self.cache.popitem(last=False)
        self.cache.move_to_end(key)
        return self.cache[key][index]

    def __getstate__(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return self.files, self.columns

    def __setstate__(self, state: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
        self.files, self.columns = state
        self.cache = OrderedDict()


@dataclass(frozen=True, eq=False)
class ParquetDataset(IndexedDataset):
    """Rows of Parquet files, with the bytes of the images inside; they are read on demand."""

    rows: _RowGroups
    positions: tuple[tuple[int, int, int], ...]
    """file, row group and row of each sample"""
    image_column: str
    mask_column: str | None

    def image_source(self, index: int) -> ImageSource:
        """The image of one sample, with its bytes in memory."""
        content = self.rows.row(*self.positions[index])[self.image_column]
        return ImageSource(_image_bytes(content, self.image_paths[index]))

    def _mask(self, index: int, image: ImageSource) -> MaskSource | None:  # noqa: ARG002 - of the base class
        if self.mask_column is None:
            return None
        content = self.rows.row(*self.positions[index])[self.mask_column]
        if content is None:
            return None
        return BytesMask(_image_bytes(content, self.ids[index]), self.ids[index], len(self.class_names) + 1)


@dataclass(frozen=True, slots=True)
class BytesMask:
    """A mask image in memory whose pixel values are class indices."""

    content: bytes
    name: str
    """sample named in errors"""
    num_values: int
    """valid pixel values are 0 to num_values - 1, and 255"""

    def read(self) -> ClassMap:
        """Read the class map (H, W) uint8.

        Raises:
            UnknownValueError: A pixel value stands for no class.
            DataError: The image is broken, too large, or a color image.
        """
        with opened_mask(self.content, name=self.name) as image:
            if image.mode not in ("L", "P", "1", "I", "I;16"):
                raise DataError(f"{self.name}: expected a mask of class indices, got mode {image.mode}")
            values = np.asarray(image)
        unknown = (values >= self.num_values) & (values != IGNORE_INDEX)
        if unknown.any():
            listed = ", ".join(map(str, np.unique(values[unknown])[:5]))
            raise UnknownValueError(f"{self.name}: expected mask values below {self.num_values}, got {listed}")
        return np.asarray(values, np.uint8)


def _image_bytes(content: object, name: str) -> bytes:
    """The bytes of an image cell: bytes, or a dict of bytes and path."""
    value = content.get("bytes") if isinstance(content, dict) else content
    if isinstance(value, bytes):
        return value
    path = content.get("path") if isinstance(content, dict) else None
    if isinstance(path, str) and file_exists(Path(path)):
        return read_bytes(Path(path), limit=_MAX_IMAGE)
    raise DataError(f"{name}: expected the bytes of an image, got none")


def _open_file(path: Path) -> Any:
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MissingExtra("reading Parquet files", "parquet") from error
    with _translate_errors(path):
        require_file(path)
        return ParquetFile(path)


@contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except BlitzNetError:
        raise
    except Exception as error:  # pyarrow's errors have no common base
        raise DataError(f"{path}: expected a Parquet file ({' '.join(str(error).split())[:120]})") from error


def read_rows(path: Path, file: Any, group: int, columns: Sequence[str]) -> Any:
    """Columns of one row group, as a table of pyarrow.

    Raises:
        DataError: The row group is broken, or larger than the limits of rows and bytes that are checked before.
    """
    with _translate_errors(path):
        metadata = file.metadata.row_group(group)
        if metadata.num_rows > _MAX_ROWS or metadata.total_byte_size > _MAX_ROW_GROUP:
            raise DataError(
                f"{path}: expected row groups of at most {_MAX_ROWS:,} rows and {_MAX_ROW_GROUP:,} bytes, got one of "
                f"{metadata.num_rows:,} rows and {metadata.total_byte_size:,} bytes; write smaller ones"
            )
        table = file.read_row_group(group, columns=list(columns))
        if table.num_rows != metadata.num_rows:
            raise DataError(f"{path}: expected {metadata.num_rows:,} rows in a row group, got {table.num_rows:,}")
        return table


def _open_parquet(paths: Sequence[Path], root: Path, title: str) -> ParquetDataset:
    first = _open_file(paths[0])
    with _translate_errors(paths[0]):
        features = _features(first)
        columns = first.schema_arrow.names
        images = [name for name in columns if _is_image(features, first, name)]
    image_column = next(
        (name for name in ("image", "img", "pixel_values") if name in images), images[0] if images else None
    )
    if image_column is None:
        raise DataError(f"{paths[0]}: expected a column `image` with bytes, got columns {', '.join(columns[:8])}")
    mask_column = next((name for name in _MASK_COLUMNS if name in images and name != image_column), None)
    objects_column = next((name for name in ("objects", "annotations", "labels") if name in columns), None)
    if objects_column is None and mask_column is None:
        raise DataError(
            f"{paths[0]}: expected a column `objects` or a column of masks, got columns {', '.join(columns[:8])}"
        )
    names = _class_list(root) or _feature_names(features.get(objects_column or ""))
    positions: list[tuple[int, int, int]] = []
    records: list[ImageRecord] = []
    for number, path in enumerate(paths):
        file = _open_file(path)
        for group in range(file.num_row_groups):
            table = read_rows(
                path, file, group, [f"{image_column}.path", *([objects_column] if objects_column else [])]
            )
            count, start = table.num_rows, len(positions)
            positions += [(number, group, index) for index in range(count)]
            values = table.column(objects_column).to_pylist() if objects_column else [None] * count
            paths_inside = (
                table.column(image_column).to_pylist() if image_column in table.column_names else [None] * count
            )
            for index, (value, image) in enumerate(zip(values, paths_inside, strict=True)):
                inside = image.get("path") if isinstance(image, dict) else None
                name = strip_suffix(inside) if inside else f"{path.name}:{start + index + 1}"
                records.append(_row_record(value, name, str(path), names))
    packed = _pack(records, title, names if objects_column else names or _mask_names(root), objects_column is not None)
    return ParquetDataset(
        title=title,
        class_names=packed.class_names,
        ids=_unique_ids(packed.ids),
        image_paths=packed.image_paths,
        annotations=packed.annotations if objects_column is not None else None,
        errors=packed.errors,
        unlabeled=packed.unlabeled if objects_column is not None else frozenset(),
        rows=_RowGroups(tuple(map(str, paths)), tuple(n for n in (image_column, mask_column) if n is not None)),
        positions=tuple(positions),
        image_column=image_column,
        mask_column=mask_column,
    )


def _row_record(value: object, name: str, path: str, names: Sequence[str] | None) -> ImageRecord:
    try:
        objects = None if value is None else tuple(parse_objects(value, f"{path}: {name}", names))
        return ImageRecord(name, path, None, objects)
    except DataError as error:
        return ImageRecord(name, path, None, (), error)


def _unique_ids(ids: Sequence[str]) -> tuple[str, ...]:
    """Ids with a number where a name occurs several times."""
    counts = Counter(ids)
    return tuple(name if counts[name] == 1 else f"{name}:{number}" for number, name in enumerate(ids, 1))


def _pack(records: Sequence[ImageRecord], title: str, names: Sequence[str] | None, has_objects: bool) -> OutlineDataset:
    if not has_objects and not names:
        raise DataError(f"{title}: expected classes.txt with the names of the mask values, got none")
    return pack_records(records, title=title, class_names=names)


def _mask_names(root: Path) -> tuple[str, ...] | None:
    """Class names of masks from the card's `id2label.json`."""
    path = root / "id2label.json"
    if not path.is_file():
        return None
    try:
        content = require_dict(read_json(path, limit=_MAX_CLASSES), str(path), "id2label")
        return tuple(require_name(content[key], str(path)) for key in sorted(content, key=int))
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: expected numbers and names of classes") from error


def _features(file: Any) -> dict[str, Any]:
    """The features that `datasets` stores in the schema; empty without them."""
    try:
        content = json.loads((file.schema_arrow.metadata or {})[b"huggingface"])
        features = content["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _is_image(features: dict[str, Any], file: Any, name: str) -> bool:
    feature = features.get(name)
    if isinstance(feature, dict) and feature.get("_type") == "Image":
        return True
    text = str(file.schema_arrow.field(name).type)
    return "bytes: binary" in text or text == "binary"


def _feature_names(feature: object, depth: int = 0) -> tuple[str, ...] | None:
    """The names of the first ClassLabel in a feature."""
    if depth > _MAX_DEPTH:
        return None
    if isinstance(feature, dict):
        names = feature.get("names")
        if feature.get("_type") == "ClassLabel" and isinstance(names, list):
            return tuple(require_name(name, "features") for name in names)
        feature = list(feature.values())
    if isinstance(feature, list):
        return next((names for item in feature if (names := _feature_names(item, depth + 1)) is not None), None)
    return None
