"""Time of a training sample (decode, augment, mask), against decoding and resizing its image alone.

Both run in this process, interleaved image by image; processor time is measured. Plain: Pillow decodes the whole JPEG
and resizes it bilinearly to 300 x 300. Augmented: the work of a data-loader worker for one sample of the recipe `lite`.
Each runs once before, so that files are in the disk cache.

`python -m benchmarks.training.sample --json sample.json`
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from benchmarks._lib.results import DATA, Table, at_most, percent, print_results, require_images, write_json
from blitznet.core.models import get_spec
from blitznet.core.sample import Dataset
from blitznet.train.datasets import open_all, prepare_data
from blitznet.train.loader import AugmentedDataset
from blitznet.train.recipes import lite_config
from blitznet.train.sampler import SampleDraw
from blitznet.train.trainer import augmented

MAX_RATIO = 2.0
"""goal: time of a training sample as a multiple of the plain way's"""


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    images: int = 60
    """Number of images of each training set, evenly spaced. Default: 60."""
    rounds: int = 5
    """Rounds, of which the median is reported, after one round of warm-up. Default: 5."""
    seed: int = 0
    root: Path = DATA
    """Folder of the images. Default: ../shared/data."""
    json: Path | None = None
    """Write the results to this file."""


@dataclass(frozen=True)
class Row:
    """One dataset, milliseconds per image."""

    set: str
    images: int
    frequency: float
    """fraction of the recipe's samples that are of this dataset"""
    plain: float
    augmented: float
    ratio: float


def decode_and_resize(path: str, size: tuple[int, int]) -> None:
    """Decode an image at full size and resize it."""
    with Image.open(path) as image:
        np.asarray(image.convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR))


def process_seconds(work: Callable[[], object]) -> float:
    """Processor time of a call, which other processes do not change."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(dataset: Dataset, frequency: float, samples: AugmentedDataset, options: Options) -> Row:
    """Time one dataset; the order of plain and augmented alternates."""
    count = min(options.images, len(dataset))
    indices = np.linspace(0, len(dataset) - 1, count).astype(int).tolist()
    paths = [dataset[index].image.name for index in indices]
    rounds = []
    for number in range(options.rounds + 1):
        seconds = {"plain": 0.0, "augmented": 0.0}
        for position, (index, path) in enumerate(zip(indices, paths, strict=True)):
            draw = SampleDraw(0, index, (options.seed, number, position))
            jobs: dict[str, Callable[[], object]] = {
                "plain": partial(decode_and_resize, path, samples.size),
                "augmented": partial(samples.__getitem__, draw),
            }
            for name in ("plain", "augmented") if (position + number) % 2 else ("augmented", "plain"):
                seconds[name] += process_seconds(jobs[name])
        rounds.append(seconds)
    medians = {name: 1e3 * statistics.median(row[name] for row in rounds[1:]) / count for name in rounds[0]}
    ratio = medians["augmented"] / medians["plain"]
    return Row(dataset.title, count, frequency, **medians, ratio=ratio)


def weighted_mean(rows: list[Row]) -> Row:
    """All datasets, weighted by their frequency in the recipe."""
    plain = sum(row.frequency * row.plain for row in rows)
    augmented_time = sum(row.frequency * row.augmented for row in rows)
    images = sum(row.images for row in rows)
    return Row("weighted mean", images, 1.0, plain, augmented_time, augmented_time / plain)


def main(options: Options) -> None:
    """Measure, print and write."""
    require_images(options.root)
    config = replace(lite_config(), root=options.root)
    spec = get_spec(config.model)
    data = prepare_data(open_all(config.resolve_root(config.data)), (), spec.classes, config)
    draws = np.bincount(data.sampler.entries[:, 0], data.sampler.frequencies)
    frequencies = (draws / draws.sum()).tolist()
    rows = [
        measure(dataset, frequency, augmented([dataset], spec, config), options)
        for dataset, frequency in zip(data.training, frequencies, strict=True)
    ]
    mean = weighted_mean(rows)
    cells = [
        (
            row.set.replace(f"{options.root}/", "").split(",")[0],
            str(row.images),
            percent(row.frequency, 0),
            *(f"{value:.2f}" for value in (row.plain, row.augmented, row.ratio)),
        )
        for row in (*rows, mean)
    ]
    columns = ("set", "images", "frequency", "plain, ms", "augmented, ms", "ratio")
    table = Table("a training sample against decoding and resizing its image", columns, cells)
    goals = [at_most("a training sample, against decoding and resizing", mean.ratio, MAX_RATIO, " times")]
    print_results([table], goals)
    write_json(options.json, options, rows=rows, mean=mean, tables=[table], goals=goals)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
