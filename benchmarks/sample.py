"""A training sample ready, decoded, augmented and with its mask, against bare decoding and resizing of its image.

Both in this one process, taking turns image by image; the processor time it takes counts. Bare is Pillow
alone: the whole JPEG decoded, then bilinear to 300 x 300. Ready is what a worker of the shipped model's recipe
does for one sample. Each is run once before, so that the disk counts for neither.

`python benchmarks/sample.py --json sample.json`
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

from blitznet.core.models import get_spec
from blitznet.data.dataset import Dataset
from blitznet.train.datasets import map_sets, open_all
from blitznet.train.loader import Augmented
from blitznet.train.recipes import lite
from blitznet.train.sampler import SampleDraw
from learning import examples
from report import DATA, percent, require_images, show, write

LIMIT = 2.0
"""times the bare way"""


@dataclass(frozen=True)
class Options:
    """What is timed."""

    images: int = 60
    """of each training set, evenly spaced in its list"""
    rounds: int = 5
    """of which the median counts; one more is run first to warm up"""
    seed: int = 0
    root: Path = DATA
    json: Path | None = None


@dataclass(frozen=True)
class Row:
    """One set: milliseconds a image."""

    set: str
    images: int
    share: float
    """of the recipe's samples that come from this set"""
    bare: float
    ready: float
    ratio: float


def bare_way(path: str, size: tuple[int, int]) -> None:
    """Decode a image whole and resize it."""
    with Image.open(path) as image:
        np.asarray(image.convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR))


def seconds(work: Callable[[], object]) -> float:
    """What a call costs this process: the clock's time on an idle machine, and the same on a busy one."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def measure(dataset: Dataset, share: float, ready: Augmented, options: Options) -> Row:
    """Time one set, round after round; the order within a pair changes with every image."""
    count = min(options.images, len(dataset))
    indices = np.linspace(0, len(dataset) - 1, count).astype(int).tolist()
    paths = [dataset[index].image.name for index in indices]
    rounds = []
    for turn in range(options.rounds + 1):
        spent = {"bare": 0.0, "ready": 0.0}
        for place, (index, path) in enumerate(zip(indices, paths, strict=True)):
            draw = SampleDraw(0, index, (options.seed, turn, place))
            works: dict[str, Callable[[], object]]
            works = {"bare": partial(bare_way, path, ready.size), "ready": partial(ready.__getitem__, draw)}
            for name in ("bare", "ready") if (place + turn) % 2 else ("ready", "bare"):
                spent[name] += seconds(works[name])
        rounds.append(spent)
    slow, fast = (1e3 * statistics.median(spent[name] for spent in rounds[1:]) / count for name in ("ready", "bare"))
    return Row(dataset.title, count, share, bare=fast, ready=slow, ratio=slow / fast)


def together(rows: list[Row]) -> Row:
    """All sets in the shares that their weights and repeated images give them."""
    bare = sum(row.share * row.bare for row in rows)
    ready = sum(row.share * row.ready for row in rows)
    return Row("as the recipe mixes them", sum(row.images for row in rows), 1.0, bare, ready, ready / bare)


def main(options: Options) -> None:
    """Measure, print, write."""
    require_images(options.root)
    config = replace(lite(), root=options.root)
    spec = get_spec(config.model)
    sets = map_sets(open_all(config.sources(config.data)), (), spec.classes, config)
    shown = np.bincount(sets.stream.entries[:, 0], sets.stream.shares)
    shares = (shown / shown.sum()).tolist()
    rows = [
        measure(dataset, share, examples([dataset], spec, config), options)
        for dataset, share in zip(sets.training, shares, strict=True)
    ]
    whole = together(rows)
    table = [
        (
            row.set.replace(f"{options.root}/", "").split(",")[0],
            str(row.images),
            percent(row.share, 0),
            *(f"{value:.2f}" for value in (row.bare, row.ready, row.ratio)),
        )
        for row in (*rows, whole)
    ]
    verdict = "holds" if whole.ratio <= LIMIT else "fails"
    notes = [f"a sample ready takes {whole.ratio:.2f} times bare decoding and resizing (at most {LIMIT:g}): {verdict}"]
    columns = ("set", "images", "share", "bare, ms", "ready, ms", "ratio")
    show("a training sample against decoding and resizing its image", columns, table, notes)
    write(options.json, options, rows=rows, whole=whole)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
