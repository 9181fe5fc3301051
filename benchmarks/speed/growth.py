"""Growth of the time with the input: four times the images, pixels or objects take about four times as long.

Memory is allocated as in training, where freed memory is used again.

`python -m benchmarks.speed.growth --json growth.json`
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import tyro

from benchmarks._lib.results import Table, at_most, print_results, write_json
from blitznet.bench.timing import timed
from blitznet.cli.predict import unique_names
from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.models import DEFAULT, get_spec
from blitznet.drawing.annotate import annotate
from blitznet.postprocess.result import Result, Segmentation
from blitznet.train.batch import Batch
from blitznet.train.matching import match
from blitznet.train.memory import reuse_freed_memory

FACTOR = 4
"""between the sizes of an input"""
MAX_EXPONENT, MAX_EXPONENT_EQUAL = 1.3, 2.0
"""goals: the time grows as the size to this power, at most; equal objects want ever more anchors each"""


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    repeats: int = 3
    """Measurements of each size, of which the fastest counts. Default: 3."""
    json: Path | None = None
    """Write the results to this file."""


@dataclass(frozen=True)
class Row:
    """Times of one task."""

    task: str
    sizes: tuple[int, ...]
    milliseconds: tuple[float, ...]
    exponent: float
    """of the time between the two largest sizes"""


def name_images(count: int) -> Callable[[], object]:
    """Names of the outputs of images that all have one name."""

    def run() -> None:
        with TemporaryDirectory() as folder:
            images = [Path(folder, str(number), "rgb.jpg") for number in range(count)]
            assert len(set(unique_names(images, Path(folder, "out"), lambda _: [], overwrite=False))) == count

    return run


def match_objects(count: int, *, spread: float) -> Callable[[], object]:
    """Matching of one image with many boxes of 5 % of its width; with a spread of 0 all are equal."""
    spec, rng = get_spec(DEFAULT), np.random.default_rng(0)
    anchors = torch.from_numpy(generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, spec.size)).copy())
    corners = 0.475 + spread * (rng.random((count, 2)) - 0.5)
    num_classes = len(spec.classes)
    batch = Batch(
        images=torch.zeros(1, 3, 1, 1, dtype=torch.uint8),
        boxes=torch.from_numpy(np.concatenate([corners, corners + 0.05], 1).astype(np.float32)),
        labels=torch.zeros(count, dtype=torch.int64),
        image_index=torch.zeros(count, dtype=torch.int64),
        crowd=torch.zeros(count, dtype=torch.bool),
        class_map=torch.full((1, 1, 1), 255, dtype=torch.uint8),
        box_classes=torch.ones(1, num_classes, dtype=torch.bool),
        mask_classes=torch.zeros(1, num_classes, dtype=torch.bool),
        soft_labels=torch.zeros((0, 0, 0, 0), dtype=torch.uint8),
        soft_index=torch.zeros(0, dtype=torch.int64),
        soft_classes=torch.zeros((0, 0), dtype=torch.bool),
        ids=("0",),
    )
    return lambda: match(anchors, batch)


def draw_overlay(pixels: int) -> Callable[[], object]:
    """The overlay of an image of 4:3 with a class map of circles."""
    height = round((pixels * 3 / 4) ** 0.5)
    width = pixels // height
    y, x = np.ogrid[:height, :width]
    radius = height // 8
    distance = (y % (4 * radius) - 2 * radius) ** 2 + (x % (4 * radius) - 2 * radius) ** 2
    class_map = (distance < radius**2).astype(np.uint8)
    result = Result(
        boxes=np.zeros((0, 4), np.float32),
        scores=np.zeros(0, np.float32),
        labels=np.zeros(0, np.int64),
        class_names=get_spec(DEFAULT).classes,
        size=(height, width),
        segmentation=Segmentation.from_class_map(class_map),
    )
    image = np.full((height, width, 3), 90, np.uint8)
    return lambda: annotate(image, result)


TASKS: dict[str, tuple[tuple[int, ...], Callable[[int], Callable[[], object]]]] = {
    "names of images of one name": ((500, 2000, 8000), name_images),
    "matching of objects": ((100, 400, 1600), lambda count: match_objects(count, spread=0.9)),
    "matching of equal objects": ((125, 500, 2000), lambda count: match_objects(count, spread=0.0)),
    "overlay, pixels": ((750_000, 3_000_000, 12_000_000), draw_overlay),
}
"""task -> its sizes, and what makes the function to time for a size"""


def measure(task: str, repeats: int) -> Row:
    """Time a task at each of its sizes."""
    sizes, make = TASKS[task]
    times = []
    for size in sizes:
        run = make(size)
        times.append(min(timed(run)[1] for _ in range(repeats)))
    return Row(task, sizes, tuple(times), log(times[-1] / times[-2]) / log(FACTOR))


def main(options: Options) -> None:
    """Measure every task; print the times and the goals."""
    reuse_freed_memory()
    rows = [measure(task, options.repeats) for task in TASKS]
    table = Table(
        "milliseconds, the fastest of several",
        ("task", "small", "4 x", "16 x", "exponent"),
        [(row.task, *(f"{time:.1f}" for time in row.milliseconds), f"{row.exponent:.2f}") for row in rows],
    )
    goals = [
        at_most(f"{row.task}: exponent", row.exponent, MAX_EXPONENT_EQUAL if "equal" in row.task else MAX_EXPONENT)
        for row in rows
    ]
    print_results([table], goals)
    write_json(options.json, options, rows=rows, tables=[table], goals=goals)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
