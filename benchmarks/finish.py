"""What comes after the network: boxes out of raw answers, and a class map of full size out of small logits.

Boxes: raw answers of `blitznet300-s4` (45,390 anchors, 21 channels) that has learned a little, random ones, and the
worst case in which every anchor passes for every class; ours in numpy and in torch beside a plain loop, OpenCV's
batched suppression and ONNX's operator, all in one run, taking turns. Class map: stride-4 logits to 1920x1080.

`python benchmarks/finish.py --json finish.json` (OpenCV's row needs `pip install opencv-python-headless`)
"""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import tyro

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.arrays import ClassMap, Floats
from blitznet.core.models import get_spec
from blitznet.nets.postprocess import PostprocessModule
from blitznet.postprocess.decode import decode_detections
from blitznet.postprocess.upsample import upsample_argmax
from plain import Found, plain, plain_paint, with_onnx, with_opencv
from report import write
from tables import Table, Verdict, at_least, at_most, print_all

SPEC = get_spec("blitznet300-s4")
ANCHORS = generate_anchors(SPEC.anchors, feature_map_sizes(SPEC.anchors, SPEC.size))
LIMITS = SPEC.postprocess
TENSORS = Path(__file__).with_name("tensors.npz")
LEARNED_MS, WORST_MS, TIMES, PAINT_TIMES, PAINT_EQUAL = 3.0, 40.0, 5.0, 10.0, 0.995
Way = Callable[[Floats, Floats], Found]
Case = list[tuple[Floats, Floats]]
"""offsets (A, 4) and class logits (A, C) of some images"""


@dataclass(frozen=True)
class Options:
    """What is timed."""

    tensors: Path = TENSORS
    rounds: int = 7
    """of which the median counts; one more is run first to warm up"""
    size: tuple[int, int] = (1080, 1920)
    """(height, width) of the class map"""
    threads: int = 1
    """of torch; numpy has one here"""
    seed: int = 0
    json: Path | None = None


@dataclass(frozen=True)
class Row:
    """One way with one kind of answers."""

    case: str
    way: str
    milliseconds: float
    """median for one image"""
    of_plain: float
    """how many times as fast as the plain loop"""
    equal: float
    """part of the plain loop's detections that are in the answer, label and box, at their place in the order"""


def cases(options: Options) -> dict[str, Case]:
    """The three kinds of answers."""
    rng = np.random.default_rng(options.seed)
    with np.load(options.tensors) as stored:
        learned = list(zip(stored["offsets"].astype(np.float32), stored["logits"].astype(np.float32), strict=True))

    def drawn(spread: float) -> tuple[Floats, Floats]:
        offsets = rng.normal(0, 1, (len(ANCHORS), 4)).astype(np.float32)
        return offsets, rng.normal(0, spread, (len(ANCHORS), SPEC.num_channels)).astype(np.float32)

    # with so little spread each of 21 channels has more than the limit of 0.01, everywhere
    return {"learned": learned, "random": [drawn(3.0)], "everything passes": [drawn(0.2)]}


def ways() -> dict[str, Way]:
    """Everything that makes boxes of raw answers."""
    finishing = PostprocessModule(SPEC)

    def with_torch(offsets: Floats, logits: Floats) -> Found:
        with torch.inference_mode():
            found = finishing.detections(torch.from_numpy(offsets)[None], torch.from_numpy(logits)[None])
        boxes, scores, labels, count = (part[0].numpy() for part in found)
        return boxes[:count], scores[:count], labels[:count]

    every: dict[str, Way] = {
        "plain loop": lambda offsets, logits: plain(offsets, logits, ANCHORS, SPEC, LIMITS),
        "numpy, ours": lambda offsets, logits: decode_detections(offsets, logits, ANCHORS, SPEC, LIMITS),
        "torch, ours": with_torch,
        "ONNX operator": lambda offsets, logits: with_onnx(offsets, logits, ANCHORS, SPEC, LIMITS),
    }
    if find_spec("cv2"):
        every["OpenCV"] = lambda offsets, logits: with_opencv(offsets, logits, ANCHORS, SPEC, LIMITS)
    return every


def timed(jobs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each, taking turns."""
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(rounds + 1):
        for name, job in jobs.items():
            begun = time.perf_counter()
            job()
            if turn:
                taken[name].append(1000 * (time.perf_counter() - begun))
    return {name: statistics.median(times) for name, times in taken.items()}


def same(found: Found, expected: Found) -> float:
    """Part of what is wanted that was found, label and box, at its place in the order of the scores."""
    (boxes, scores, labels), (other, sure, right) = found, expected
    count = min(len(boxes), len(other))
    close = np.abs(boxes[:count] - other[:count]).max(1, initial=0) < 1e-5
    close &= (labels[:count] == right[:count]) & (np.abs(scores[:count] - sure[:count]) < 1e-5)
    return float(close.sum()) / max(1, len(boxes), len(other))


def boxes_rows(options: Options) -> list[Row]:
    """Every way with every kind."""
    rows = []
    for case, images in cases(options).items():
        every = ways()
        expected = [every["plain loop"](*image) for image in images]
        equal = {
            name: statistics.mean(same(way(*image), one) for image, one in zip(images, expected, strict=True))
            for name, way in every.items()
        }
        each = [timed({name: partial(way, *image) for name, way in every.items()}, options.rounds) for image in images]
        times = {name: statistics.median(one[name] for one in each) for name in every}
        rows += [Row(case, name, times[name], times["plain loop"] / times[name], equal[name]) for name in every]
    return rows


def paint_rows(options: Options) -> list[Row]:
    """The class map of the first stored image and of noise, ours and the plain ways."""
    with np.load(options.tensors) as stored:
        learned = stored["class_map"][0].astype(np.float32)

    def with_torch(logits: Floats) -> ClassMap:
        full = torch.nn.functional.interpolate(torch.from_numpy(logits)[None], size=options.size, mode="bilinear")
        return full[0].argmax(0).to(torch.uint8).numpy()

    ways = {"plain, numpy": lambda x: plain_paint(x, options.size), "plain, torch": with_torch}
    ways["ours"] = lambda x: upsample_argmax(x, options.size)
    noise = np.random.default_rng(options.seed).normal(0, 3, learned.shape).astype(np.float32)
    rows = []
    for case, logits in {"class map, learned": learned, "class map, noise": noise}.items():
        expected = plain_paint(logits, options.size)
        equal = {name: float((way(logits) == expected).mean()) for name, way in ways.items()}
        times = timed({name: partial(way, logits) for name, way in ways.items()}, options.rounds)
        rows += [Row(case, name, times[name], times["plain, numpy"] / times[name], equal[name]) for name in ways]
    return rows


def judge(rows: list[Row]) -> list[Verdict]:
    """What was promised, and whether it holds."""
    found = {(row.case, row.way): row for row in rows}
    learned, worst = found["learned", "numpy, ours"], found["everything passes", "numpy, ours"]
    drawn, torch_row = found["class map, learned", "ours"], found["class map, learned", "plain, torch"]
    times = " times as fast"
    return [
        at_most("boxes of learned answers", learned.milliseconds, LEARNED_MS, " ms"),
        at_most("boxes of the worst case", worst.milliseconds, WORST_MS, " ms"),
        at_least("both against the plain loop", min(learned.of_plain, worst.of_plain), TIMES, times),
        at_least("both equal to it", min(learned.equal, worst.equal), 1),
        at_least("class map against the plain way in numpy", drawn.of_plain, PAINT_TIMES, times),
        at_least("and in torch", torch_row.milliseconds / drawn.milliseconds, PAINT_TIMES, times),
        at_least("part of its pixels that are equal", drawn.equal, PAINT_EQUAL),
    ]


def main(options: Options) -> None:
    """Time, compare, print, write."""
    if not options.tensors.is_file():
        print(f"skipped: there are no answers in {options.tensors}; tensors.py makes them")
        sys.exit(0)
    torch.set_num_threads(options.threads)
    rows = boxes_rows(options) + paint_rows(options)
    cells = [(row.case, row.way, f"{row.milliseconds:.2f}", f"{row.of_plain:.1f}", f"{row.equal:.2%}") for row in rows]
    note = f"milliseconds for one image, median; class map of {options.size[1]} x {options.size[0]} pixels"
    table = Table("after the network", ("answers", "way", "ms", "times as fast", "equal"), cells, (note,))
    verdicts = judge(rows)
    print_all([table], verdicts)
    write(options.json, options, rows=rows, verdicts=verdicts, tables=[table])


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
