"""Parts as Parquet files, and images in Parquet files. The only file of this package that imports pyarrow."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import Boxes, Labels, Scores
from blitznet.core.errors import BlitzNetError, DataError, MissingExtra

PART_KEY = b"blitznet"
"""key of a part's metadata: JSON of the model, the settings and the number of images and errors"""
IMAGE_COLUMNS = ("image", "img", "jpg", "png", "bytes", "content", "pixel_values")
"""names of columns that are searched for images before those of another name"""
_ROWS_IN_GROUP = 256
"""rows that are written together; those of one group are in memory"""
_READ_ROWS = 16
"""rows of a Parquet source that are read together"""


@dataclass(frozen=True, slots=True, eq=False)
class PartRow:
    """The prediction of one image, or its error."""

    id: str
    size: tuple[int, int] | None = None
    """(H, W) of the upright image, pixels; None for one that cannot be read"""
    boxes: Boxes | None = None
    """(N, 4) x1 y1 x2 y2, pixels"""
    labels: Labels | None = None
    """(N,) class ids"""
    scores: Scores | None = None
    """(N,) 0..1"""
    class_names: tuple[str, ...] | None = None
    """N names of the labels"""
    runs: tuple[NDArray[Any], NDArray[np.int64]] | None = None
    """values and lengths of the runs of the class map"""
    masks: tuple[tuple[int, str], ...] | None = None
    """label and COCO run lengths of each class in the class map"""
    error: str | None = None
    """the reason for which the image cannot be read"""


@dataclass(frozen=True, slots=True)
class PartSummary:
    """What a part contains."""

    name: str
    """file name"""
    images: int
    """number of rows"""
    errors: int
    """number of rows with an error"""
    first: str = ""
    """the first file of its shard"""


class PartWriter:
    """Writes rows to a Parquet file; few of them are in memory."""

    def __init__(self, path: Path, metadata: dict[str, Any]) -> None:
        """Open a part.

        Args:
            path: The file.
            metadata: Values for JSON that are stored in the file.

        Raises:
            MissingExtra: pyarrow is not installed.
        """
        pyarrow = _import_pyarrow()
        self._schema = _schema(pyarrow)
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._metadata = metadata
        self._rows: list[PartRow] = []
        self.images = self.errors = 0

    def write(self, row: PartRow) -> None:
        """Add a row."""
        self._rows.append(row)
        self.images += 1
        self.errors += row.error is not None
        if len(self._rows) == _ROWS_IN_GROUP:
            self._flush()

    def close(self) -> None:
        """Write the last rows and the metadata."""
        self._flush()
        content = {**self._metadata, "images": self.images, "errors": self.errors}
        self._writer.add_key_value_metadata({PART_KEY: json.dumps(content, sort_keys=True)})
        self._writer.close()

    def abort(self) -> None:
        """Close the file without the last rows."""
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_batch(_record_batch(self._rows, self._schema))
            self._rows = []


def read_summary(file: IO[bytes], name: str) -> PartSummary | None:
    """The number of images and errors in a part; None for a file that is not a whole part.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    pyarrow = _import_pyarrow()
    try:
        metadata = pyarrow.parquet.read_metadata(file)
        content = json.loads((metadata.metadata or {})[PART_KEY])
        summary = PartSummary(name, int(content["images"]), int(content["errors"]), str(content["first"]))
    except (pyarrow.ArrowException, OSError, KeyError, ValueError, TypeError, RecursionError):
        return None
    return summary if metadata.num_rows == summary.images else None


def read_image_cells(
    file: IO[bytes], path: str, image_column: str | None, id_column: str | None
) -> Iterator[tuple[str, bytes]]:
    """The id and the bytes of each image in a Parquet file; no bytes for an empty cell.

    Args:
        file: The file.
        path: Its path, for ids and errors.
        image_column: Column of bytes, or of structs with a field `bytes`. Default: the first of that type.
        id_column: Column of the ids. Default: path and number of the row.

    Raises:
        DataError: The file is broken or has no such column.
        MissingExtra: pyarrow is not installed.
    """
    pyarrow = _import_pyarrow()
    number = 0
    try:
        source = pyarrow.parquet.ParquetFile(file)
        schema = source.schema_arrow
        column = _image_column(pyarrow, schema, path, image_column)
        if id_column is not None and id_column not in schema.names:
            raise DataError(f"{path}: expected a column '{id_column}', got columns {', '.join(schema.names[:8])}")
        columns = [column, *([id_column] if id_column is not None and id_column != column else [])]
        for batch in source.iter_batches(batch_size=_READ_ROWS, columns=columns):
            ids = None if id_column is None else batch.column(id_column).to_pylist()
            for index, cell in enumerate(batch.column(column).to_pylist()):
                content = cell.get("bytes") if isinstance(cell, dict) else cell
                yield (f"{path}#{number}" if ids is None else str(ids[index])), content or b""
                number += 1
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: Parquet file is broken ({_one_line(error)})") from error


def count_rows(file: IO[bytes], path: str) -> int:
    """The number of rows of a Parquet file. Raises as `read_image_cells`."""
    pyarrow = _import_pyarrow()
    try:
        return int(pyarrow.parquet.read_metadata(file).num_rows)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: Parquet file is broken ({_one_line(error)})") from error


def require_pyarrow() -> None:
    """Check that parts can be written, before the work starts. Raises MissingExtra."""
    _import_pyarrow()


def _import_pyarrow() -> ModuleType:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("`blitznet batch`", "batch") from error
    module: ModuleType = pyarrow
    return module


def _schema(pyarrow: Any) -> Any:
    """The columns of a part."""
    runs = [("counts", pyarrow.list_(pyarrow.int32())), ("values", pyarrow.list_(pyarrow.uint8()))]
    mask = [("label", pyarrow.int32()), ("counts", pyarrow.string())]
    return pyarrow.schema(
        [
            pyarrow.field("id", pyarrow.string(), nullable=False),
            ("width", pyarrow.int32()),
            ("height", pyarrow.int32()),
            ("boxes", pyarrow.list_(pyarrow.list_(pyarrow.float32(), 4))),
            ("labels", pyarrow.list_(pyarrow.int32())),
            ("class_names", pyarrow.list_(pyarrow.string())),
            ("scores", pyarrow.list_(pyarrow.float32())),
            ("class_map", pyarrow.struct(runs)),
            ("masks", pyarrow.list_(pyarrow.struct(mask))),
            ("error", pyarrow.string()),
        ]
    )


def _record_batch(rows: Sequence[PartRow], schema: Any) -> Any:
    pyarrow = _import_pyarrow()
    boxes = [None if row.boxes is None else row.boxes.astype(np.float32) for row in rows]
    no_runs = pyarrow.array([row.runs is None for row in rows])
    runs = [
        _lists(pyarrow, (None if row.runs is None else row.runs[index] for row in rows), kind)
        for index, kind in ((1, np.int32), (0, np.uint8))
    ]
    columns = {
        "id": [row.id for row in rows],
        "width": [None if row.size is None else row.size[1] for row in rows],
        "height": [None if row.size is None else row.size[0] for row in rows],
        "boxes": _lists(pyarrow, boxes, np.float32, width=4),
        "labels": _lists(pyarrow, (row.labels for row in rows), np.int32),
        "class_names": [row.class_names for row in rows],
        "scores": _lists(pyarrow, (row.scores for row in rows), np.float32),
        "class_map": pyarrow.StructArray.from_arrays(runs, fields=list(schema.field("class_map").type), mask=no_runs),
        "masks": [
            None if row.masks is None else [{"label": label, "counts": counts} for label, counts in row.masks]
            for row in rows
        ],
        "error": [row.error for row in rows],
    }
    arrays = [
        values if isinstance(values, pyarrow.Array) else pyarrow.array(values, schema.field(name).type)
        for name, values in columns.items()
    ]
    return pyarrow.RecordBatch.from_arrays(arrays, schema=schema)


def _lists(pyarrow: Any, arrays: Iterable[NDArray[Any] | None], kind: type, *, width: int = 0) -> Any:
    """A column of lists, or of lists of `width` numbers each; None is null."""
    known = list(arrays)
    lengths = [0 if array is None else len(array) for array in known]
    parts = [array.reshape(-1) for array in known if array is not None]
    values = pyarrow.array(np.concatenate([np.zeros(0, kind), *parts]).astype(kind, copy=False))
    if width:
        values = pyarrow.FixedSizeListArray.from_arrays(values, width)
    offsets = pyarrow.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    mask = pyarrow.array([array is None for array in known])
    return pyarrow.ListArray.from_arrays(offsets, values, mask=mask)


def _image_column(pyarrow: Any, schema: Any, path: str, name: str | None) -> str:
    images = [field.name for field in schema if _contains_bytes(pyarrow, field.type)]
    if name is None:
        name = next((known for known in IMAGE_COLUMNS if known in images), images[0] if images else "image")
    if name not in images:
        raise DataError(
            f"{path}: expected a column '{name}' with the bytes of images, got columns {', '.join(schema.names[:8])}"
        )
    return name


def _contains_bytes(pyarrow: Any, kind: Any) -> bool:
    """Whether a column's cells are bytes, or structs with a field `bytes` as Hugging Face datasets write them."""
    types = pyarrow.types
    if types.is_struct(kind):
        return any(field.name == "bytes" and _contains_bytes(pyarrow, field.type) for field in kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120]


def part_error(error: BlitzNetError | str, image_id: str) -> str:
    """The text of the column `error`: an image in memory is named by its id."""
    return str(error).replace("<image in memory>", image_id)
