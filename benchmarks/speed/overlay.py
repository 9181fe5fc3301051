"""Time of the overlay of a large image against that of its class map, as the server answers them and as files.

`python -m benchmarks.speed.overlay --json overlay.json` enlarges a sample image of the package to 48 megapixels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tyro
from PIL import Image

import blitznet
from benchmarks._lib.results import Table, at_most, print_results, write_json
from blitznet.bench.timing import timed
from blitznet.core.image import ImageSource
from blitznet.drawing.annotate import palette_png
from blitznet.postprocess.result import Result
from blitznet.runtime.image_paths import find_images
from blitznet.runtime.predictor import BasePredictor
from blitznet.serve.response import render_class_map, render_overlay

MAX_RATIO = 3.0
SAMPLE = "cat"


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    width: int = 8000
    """Width of the image in pixels. Default: 8000."""
    height: int = 6000
    """Height of the image in pixels. Default: 6000."""
    repeats: int = 3
    """Measurements, whose median counts. Default: 3."""
    json: Path | None = None
    """Write the results to this file."""


@dataclass(frozen=True)
class Row:
    """Times of one way to get both."""

    way: str
    overlay: float
    """milliseconds"""
    class_map: float
    """milliseconds"""

    @property
    def ratio(self) -> float:
        """Time of the overlay divided by that of the class map."""
        return self.overlay / self.class_map


def write_overlay(result: Result, folder: Path) -> None:
    """The annotated image as the command `predict` writes it."""
    result.save(folder / "overlay.jpg")


def write_class_map(result: Result, folder: Path) -> None:
    """The class map as the command `predict` writes it."""
    assert result.class_map is not None
    palette_png(result.class_map).save(folder / "class-map.png")


def median_time(predict: Callable[[], Result], write: Callable[[Result], object], repeats: int) -> float:
    """Milliseconds from the file to the output, the prediction included."""
    return float(np.median([timed(lambda: write(predict()))[1] for _ in range(repeats)]))


def measure_all(predictor: BasePredictor, content: bytes, folder: Path, repeats: int) -> list[Row]:
    """The server's responses, and the files of the command."""

    def predict() -> Result:
        return predictor(ImageSource(content))

    return [
        Row(
            "response of the server",
            median_time(predict, lambda result: render_overlay(ImageSource(content), result), repeats),
            median_time(predict, render_class_map, repeats),
        ),
        Row(
            "file",
            median_time(predict, lambda result: write_overlay(result, folder), repeats),
            median_time(predict, lambda result: write_class_map(result, folder), repeats),
        ),
    ]


def main(options: Options) -> None:
    """Measure; print the times and the goals."""
    path = next(path for path in find_images() if path.stem == SAMPLE)
    file = BytesIO()
    Image.open(path).convert("RGB").resize((options.width, options.height)).save(file, "JPEG", quality=90)
    with TemporaryDirectory() as folder:
        rows = measure_all(blitznet.load(), file.getvalue(), Path(folder), options.repeats)
    table = Table(
        f"milliseconds for an image of {options.width}x{options.height}",
        ("way", "overlay", "class map", "ratio"),
        [(row.way, f"{row.overlay:.0f}", f"{row.class_map:.0f}", f"{row.ratio:.2f}") for row in rows],
    )
    goals = [at_most(f"overlay against class map, {row.way}", row.ratio, MAX_RATIO) for row in rows]
    print_results([table], goals)
    write_json(options.json, options, rows=rows, tables=[table], goals=goals)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
