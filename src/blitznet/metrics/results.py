"""Result files: predictions written down, so that they can be scored and compared without the model.

JSON lines: first {"blitznet": "results", "names": [...], "tasks": [...]}, then for every image
{"set", "id", "width", "height", "boxes", "scores", "labels", "class_map"}; boxes are x1 y1 x2 y2 in pixels,
the class map is a PNG in base64, or null.
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
from blitznet.core.sample import Sample
from blitznet.postprocess.result import Result, Segmentation

_KIND = "results"


@dataclass(frozen=True, slots=True, eq=False)
class StoredResults:
    """The predictions of a result file."""

    path: Path
    class_names: tuple[str, ...]
    tasks: tuple[str, ...]
    by_image: dict[tuple[str, str], Result]
    """by set title and image id"""

    def result_for(self, title: str, sample: Sample) -> Result:
        """What was predicted for a image; DataError if the file has nothing about it."""
        try:
            return self.by_image[title, sample.id]
        except KeyError:
            raise DataError(
                f"{self.path}: nothing about image '{sample.id}' of '{title}'; name the sets as they were named "
                "when the file was written"
            ) from None


@dataclass(frozen=True, slots=True, eq=False)
class ResultWriter:
    """Adds one line for every image."""

    stream: TextIO

    def add(self, title: str, sample: Sample, result: Result) -> None:
        """Write down what was predicted for one image of the set with this title."""
        row = {
            "set": title,
            "id": sample.id,
            "width": result.size[1],
            "height": result.size[0],
            "boxes": [_short(box) for box in result.boxes],
            "scores": _short(result.scores),
            "labels": result.labels.tolist(),
            "class_map": None if result.class_map is None else _to_png(result.class_map),
        }
        self.stream.write(json.dumps(row) + "\n")


@contextmanager
def open_results_writer(path: Path, names: Sequence[str], tasks: Sequence[str]) -> Iterator[ResultWriter]:
    """A writer of a new result file; the file has its name only once it is whole."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as stream:
            head = {"blitznet": _KIND, "names": list(names), "tasks": list(tasks)}
            stream.write(json.dumps(head) + "\n")
            yield ResultWriter(stream)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_results(path: Path) -> StoredResults:
    """Read a result file; DataError if it is none or has a broken line."""
    try:
        with path.open(encoding="utf-8") as stream:
            head = json.loads(stream.readline())
            if head["blitznet"] != _KIND:
                raise ValueError
            names = tuple(head["names"])
            rows = [_row(path, number, line, names) for number, line in enumerate(stream, 2)]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a result file; write one with `blitznet eval ... --results FILE`") from error
    return StoredResults(path=path, class_names=names, tasks=tuple(head["tasks"]), by_image=dict(rows))


def _row(path: Path, number: int, line: str, names: tuple[str, ...]) -> tuple[tuple[str, str], Result]:
    try:
        row: dict[str, Any] = json.loads(line)
        size = (int(row["height"]), int(row["width"]))
        result = Result(
            boxes=np.asarray(row["boxes"], np.float32).reshape(-1, 4),
            scores=np.asarray(row["scores"], np.float32),
            labels=np.asarray(row["labels"], np.int64),
            class_names=names,
            size=size,
            segmentation=None if row["class_map"] is None else Segmentation.from_class_map(_from_png(row["class_map"])),
        )
        if not ((result.labels >= 0) & (result.labels < len(names))).all():
            raise ValueError(f"labels outside 0..{len(names) - 1}")
        return (row["set"], row["id"]), result
    except (ValueError, KeyError, TypeError, OSError, BlitzNetError) as error:
        raise DataError(f"{path}: line {number} cannot be read ({error}); write the file again") from error


def _short(values: NDArray[np.float32]) -> list[float]:
    """Nine digits bring every float32 back exactly."""
    return [float(f"{value:.9g}") for value in values.tolist()]


def _to_png(class_map: ClassMap) -> str:
    stream = io.BytesIO()
    Pillow.fromarray(class_map).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _from_png(text: str) -> ClassMap:
    with Pillow.open(io.BytesIO(base64.b64decode(text)), formats=("PNG",)) as image:
        return np.asarray(image.convert("L"))
