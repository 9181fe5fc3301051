"""Reader of CSV files with a box in each row, as makesense, Roboflow and scripts for TensorFlow write them."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from blitznet.core.errors import DataError
from blitznet.core.files import require_file
from blitznet.core.image import IMAGE_SUFFIXES
from blitznet.data.annotation_files import MAX_CSV, require_name, require_numbers, require_size
from blitznet.data.dataset import files_by_name, read_text
from blitznet.data.image_files import ImageFinder
from blitznet.data.masks import BoxTuple
from blitznet.data.records import ImageRecord, ObjectRecord, OutlineDataset, pack_records
from blitznet.data.splits import find_split, is_split_name

_COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "image": ("image_name", "filename", "file_name", "image_path", "image", "path"),
    "label": ("label_name", "class", "class_name", "label", "category"),
    "x1": ("bbox_x", "xmin", "x_min", "x1"),
    "y1": ("bbox_y", "ymin", "y_min", "y1"),
    "x2": ("xmax", "x_max", "x2"),
    "y2": ("ymax", "y_max", "y2"),
    "box_width": ("bbox_width",),
    "box_height": ("bbox_height",),
    "image_width": ("image_width", "width"),
    "image_height": ("image_height", "height"),
}
"""field -> names of its column in the first line"""
_HEADERLESS: dict[int, tuple[str, ...]] = {
    8: ("label", "x1", "y1", "box_width", "box_height", "image", "image_width", "image_height"),  # makesense
    6: ("image", "x1", "y1", "x2", "y2", "label"),  # keras-retinanet
}
"""number of columns -> fields of a file without names in its first line"""
_HEAD = 1 << 12
_DELIMITERS = (",", ";", "\t")
"""characters between values; spreadsheets write semicolons where the comma is the decimal sign"""

Row = Mapping[str, str]
"""field -> value"""


def open_csv(root: Path, split: str | None, *, title: str) -> OutlineDataset:
    """Open a CSV file of boxes, or the one in a folder.

    A split is a folder with such a file, or a file whose name starts with the split, as `train_labels.csv`. An image
    that no row names is not annotated. An image whose row has no box contains no object.

    Raises:
        DataError: There is no such file, or a row names no image. Errors of boxes are in the dataset's `errors`.
    """
    path = _select_file(root, split)
    finder = ImageFinder(path.parent, [path.parent / "images", root if root.is_dir() else path.parent])
    rows: dict[str, list[tuple[str, Row]]] = {}
    for number, row in _read_rows(path):
        if not row.get("image"):
            raise DataError(f"{path}:{number}: expected the name of an image, got none")
        rows.setdefault(row["image"], []).append((f"{path}:{number}", row))
    paths = finder.find_all(rows)
    records = [_record(name, items, paths[name]) for name, items in rows.items()]
    others = _unnamed_images(path, {Path(record.path).resolve() for record in records}, is_only=split is None)
    names = _class_names(_split_files(root).values()) if root.is_dir() and split is not None else None
    return pack_records([*records, *others], title=title, class_names=names)


def csv_splits(root: Path) -> tuple[str, ...]:
    """Splits of a folder that have a CSV file of boxes."""
    return tuple(sorted(_split_files(root)))


def find_csv_file(folder: Path) -> Path | None:
    """The only CSV file of boxes in a folder; None if there is none, or several."""
    files = [path for path in sorted(folder.glob("*.csv")) if is_box_csv(path)]
    return files[0] if len(files) == 1 else None


def is_box_csv(path: Path) -> bool:
    """Whether the first line of a file names the columns of boxes, or is a box."""
    try:
        require_file(path)
        with path.open("rb") as file:
            return _delimiter(file.readline(_HEAD).decode("utf-8-sig")) is not None
    except (OSError, ValueError, csv.Error):
        return False


def _delimiter(line: str) -> str | None:
    """The character between the values of a first line; None if it names no columns of boxes, and is no box."""
    lines = {mark: next(csv.reader([line], delimiter=mark, skipinitialspace=True), []) for mark in _DELIMITERS}
    return next((mark for mark, words in lines.items() if _fields(words)[0] is not None), None)


def _select_file(root: Path, split: str | None) -> Path:
    if root.is_file() and split is None:
        return root
    files = _split_files(root) if root.is_dir() else {}
    if split is None:
        path = find_csv_file(root)
        if path is None:
            raise DataError(f"{root}: expected a CSV file with a box in each row, got none or several; name the file")
        return path
    name = find_split(split, files)
    if name is None:
        listed = ", ".join(sorted(files)) or "none (leave @SPLIT out)"
        raise DataError(f"{root}: there is no split '{split}'; splits here: {listed}")
    return files[name]


def _split_files(root: Path) -> dict[str, Path]:
    """The file of each split."""
    folders = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and is_split_name(folder.name)]
    files = {folder.name: path for folder in folders if (path := find_csv_file(folder)) is not None}
    for path in sorted(root.glob("*.csv")):
        name = path.stem.replace("-", "_").split("_")[0]
        if is_split_name(name) and is_box_csv(path):
            files.setdefault(name, path)
    return files


def _fields(line: Sequence[str]) -> tuple[tuple[str, ...] | None, bool]:
    """The field of each column, and whether the line contains names; None for another file."""
    words = [word.strip().lower() for word in line]
    columns = ["" for _ in words]
    for field, names in _COLUMN_NAMES.items():
        index = next((words.index(name) for name in names if name in words), None)
        if index is not None:
            columns[index] = field
    corners = {"x1", "y1", "x2", "y2"} <= {*columns} or {"x1", "y1", "box_width", "box_height"} <= {*columns}
    if corners and {"image", "label"} <= {*columns}:
        return tuple(columns), True
    fields = _HEADERLESS.get(len(words))
    if fields is None or not words[fields.index("image")].endswith(IMAGE_SUFFIXES):
        return None, False
    numbers = [word for word, field in zip(words, fields, strict=True) if field not in ("image", "label")]
    return (fields if all(map(_is_number_or_empty, numbers)) else None), False


def _is_number_or_empty(word: str) -> bool:
    try:
        return not word or abs(float(word)) >= 0
    except ValueError:
        return False


def _read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Line number and fields of each row.

    Raises:
        DataError: The file is no CSV file of boxes.
    """
    text = read_text(path, limit=MAX_CSV)
    mark = _delimiter(next(iter(text[:_HEAD].lstrip().splitlines()), "")) or ","
    lines = csv.reader(io.StringIO(text), delimiter=mark, skipinitialspace=True)
    fields: tuple[str, ...] | None = None
    try:
        for line in lines:
            if not any(line):
                continue
            if fields is None:
                fields, has_names = _fields(line)
                if fields is None:
                    raise DataError(
                        f"{path}:{lines.line_num}: expected columns of an image, a class and a box, "
                        f"got {', '.join(line)[:80]}"
                    )
                if has_names:
                    continue
            if len(line) != len(fields):
                raise DataError(f"{path}:{lines.line_num}: expected {len(fields)} values, got {len(line)}")
            yield lines.line_num, dict(zip(fields, (word.strip() for word in line), strict=True))
    except csv.Error as error:
        raise DataError(f"{path}: expected a CSV file ({error})") from error


def _record(name: str, rows: Sequence[tuple[str, Row]], path: Path) -> ImageRecord:
    sample_id = name[: -len(Path(name).suffix)] if name.lower().endswith(IMAGE_SUFFIXES) else name
    image = str(path)
    try:
        where, first = rows[0]
        has_size = first.get("image_width") and first.get("image_height")
        size = require_size(first.get("image_height"), first.get("image_width"), where) if has_size else None
        objects = [item for where, row in rows if (item := _object(row, where)) is not None]
    except DataError as error:
        return ImageRecord(sample_id, image, None, (), error)
    return ImageRecord(sample_id, image, size, tuple(objects))


def _object(row: Row, where: str) -> ObjectRecord | None:
    """The object of a row; None if all its values are empty."""
    keys = ("x1", "y1", "x2", "y2") if "x2" in row else ("x1", "y1", "box_width", "box_height")
    values = [row[key] for key in keys]
    if not any(values):
        return None
    x1, y1, a, b = require_numbers(values, where, "a box")
    box: BoxTuple = (x1, y1, a, b) if "x2" in row else (x1, y1, x1 + a, y1 + b)
    return ObjectRecord(require_name(row["label"], where), box)


def _class_names(paths: Iterable[Path]) -> list[str]:
    """All splits of a dataset must have the same class names."""
    return sorted({row["label"] for path in paths for _, row in _read_rows(path) if row["label"]})


def _unnamed_images(path: Path, named: set[Path], *, is_only: bool) -> list[ImageRecord]:
    """The other images beside a file, or in its folder `images`, which nobody annotated."""
    if not is_only and not is_split_name(path.parent.name):
        return []  # images of several splits are in one folder
    folder = path.parent / "images" if (path.parent / "images").is_dir() else path.parent
    images = [image for paths in files_by_name(folder, IMAGE_SUFFIXES).values() for image in paths]
    return [ImageRecord(image.stem, str(image), None, None) for image in images if image.resolve() not in named]
