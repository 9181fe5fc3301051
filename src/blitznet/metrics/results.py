"""Result files: stored predictions, which are scored and compared without the model.

JSON lines. The first is {"blitznet": "results", "class_names": [...], "tasks": [...]}. Then one for each image:
{"set", "id", "width", "height", "boxes", "scores", "labels", "class_map"}. `boxes` are x1 y1 x2 y2 in pixels,
`labels` are indices of `class_names`, `class_map` is a PNG in base64, or null.
"""

import base64
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from blitznet.core.arrays import ClassMap
from blitznet.core.errors import BlitzNetError, DataError
from blitznet.core.files import atomic_path, require_file, translate_write_errors
from blitznet.core.image import opened_mask
from blitznet.core.sample import Sample
from blitznet.postprocess.result import Result, Segmentation

_KIND = "results"
_MAX_LINE = 256 << 20
"""characters of a line, at most"""


@dataclass(frozen=True, slots=True, eq=False)
class StoredResults:
    """The predictions of a result file."""

    path: Path
    class_names: tuple[str, ...]
    tasks: tuple[str, ...]
    by_image: dict[tuple[str, str], Result]
    """by title of the set and id of the image"""

    def result_for(self, title: str, sample: Sample) -> Result:
        """The prediction for an image of the set with this title.

        Raises:
            DataError: The file has none.
        """
        try:
            return self.by_image[title, sample.id]
        except KeyError:
            raise DataError(
                f"{self.path}: expected a prediction for image '{sample.id}' of '{title}', got none; name the sets as "
                "when the file was written"
            ) from None


@dataclass(frozen=True, slots=True, eq=False)
class ResultWriter:
    """Writes one line for each image."""

    stream: TextIO

    def add(self, title: str, sample: Sample, result: Result) -> None:
        """Write the prediction for one image of the set with this title."""
        row = {
            "set": title,
            "id": sample.id,
            "width": result.size[1],
            "height": result.size[0],
            "boxes": [_float32_list(box) for box in result.boxes],
            "scores": _float32_list(result.scores),
            "labels": result.labels.tolist(),
            "class_map": None if result.class_map is None else _encode_png(result.class_map),
        }
        self.stream.write(json.dumps(row) + "\n")


@contextmanager
def open_results_writer(path: Path, class_names: Sequence[str], tasks: Sequence[str]) -> Iterator[ResultWriter]:
    """Open a writer of a new result file, which replaces `path` when it is complete.

    Raises:
        UsageError: The file cannot be written.
    """
    with translate_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as partial, partial.open("w", encoding="utf-8") as stream:
            header = {"blitznet": _KIND, "class_names": list(class_names), "tasks": list(tasks)}
            stream.write(json.dumps(header) + "\n")
            yield ResultWriter(stream)


def read_results(path: Path) -> StoredResults:
    """Read a result file.

    Raises:
        DataError: The file is missing, of another kind, or has an invalid line.
    """
    try:
        require_file(path)
        with path.open(encoding="utf-8") as stream:
            header = json.loads(_read_line(stream))
            if header["blitznet"] != _KIND:
                raise ValueError
            names = header["class_names"] if "class_names" in header else header["names"]  # "names": earlier versions
            class_names, tasks = tuple(names), tuple(header["tasks"])
            if not all(isinstance(name, str) for name in (*class_names, *tasks)):
                raise ValueError("names are no texts")
            lines = iter(lambda: _read_line(stream), "")
            rows = [_read_row(path, number, line, class_names) for number, line in enumerate(lines, 2)]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path}: expected a result file, got another kind; write one with `blitznet eval ... --results FILE`"
        ) from error
    return StoredResults(path=path, class_names=class_names, tasks=tasks, by_image=dict(rows))


def _read_line(stream: TextIO) -> str:
    """The next line; empty at the end of the file. Raises ValueError for one that is too long."""
    line = stream.readline(_MAX_LINE + 1)
    if len(line) > _MAX_LINE:
        raise ValueError(f"a line of more than {_MAX_LINE:,} characters")
    return line


def _read_row(path: Path, number: int, line: str, class_names: tuple[str, ...]) -> tuple[tuple[str, str], Result]:
    try:
        row: dict[str, Any] = json.loads(line)
        class_map = None if row["class_map"] is None else _decode_png(row["class_map"])
        result = Result(
            boxes=np.asarray(row["boxes"], np.float32).reshape(-1, 4),
            scores=np.asarray(row["scores"], np.float32),
            labels=np.asarray(row["labels"], np.int64),
            class_names=class_names,
            size=(int(row["height"]), int(row["width"])),
            segmentation=None if class_map is None else Segmentation.from_class_map(class_map),
        )
        if not ((result.labels >= 0) & (result.labels < len(class_names))).all():
            raise ValueError(f"labels outside 0..{len(class_names) - 1}")
        if not (isinstance(row["set"], str) and isinstance(row["id"], str)):
            raise ValueError("set and id are no texts")
        if not (np.isfinite(result.boxes).all() and np.isfinite(result.scores).all()):
            raise ValueError("a number is not finite")
        return (row["set"], row["id"]), result
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, BlitzNetError) as error:
        raise DataError(f"{path}:{number}: cannot be read ({error}); write the file again") from error


def _float32_list(values: NDArray[np.float32]) -> list[float]:
    """Values with nine digits, which restore every float32 exactly."""
    return [float(f"{value:.9g}") for value in values.tolist()]


def _encode_png(class_map: ClassMap) -> str:
    stream = io.BytesIO()
    Pillow.fromarray(class_map).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _decode_png(text: str) -> ClassMap:
    with opened_mask(base64.b64decode(text), name="class_map", formats=("PNG",)) as image:
        return np.asarray(image.convert("L"))
