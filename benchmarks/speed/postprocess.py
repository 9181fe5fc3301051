"""Postprocessing: raw outputs to boxes, and small segmentation logits to a class map of full size.

Boxes: stored outputs of a briefly trained `blitznet300-s4` (45,390 anchors, 21 channels), random outputs, and the
worst case, in which every anchor passes the threshold for every class. blitznet's numpy and torch versions are
compared with a plain loop, OpenCV's batched NMS and ONNX's operator, interleaved in one run. Class map: logits at
stride 4 to 1920x1080.

`python -m benchmarks.speed.postprocess --json postprocess.json` (OpenCV: `pip install opencv-python-headless`)
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

from benchmarks._lib.results import Goal, Table, at_least, at_most, print_results, write_json
from benchmarks.speed.reference import Detections, upsample_argmax_full, with_loops, with_onnx, with_opencv
from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.arrays import ClassMap, Floats
from blitznet.core.models import get_spec
from blitznet.nets.postprocess import PostprocessModule
from blitznet.postprocess.decode import decode_detections
from blitznet.postprocess.upsample import upsample_argmax

SPEC = get_spec("blitznet300-s4")
ANCHORS = generate_anchors(SPEC.anchors, feature_map_sizes(SPEC.anchors, SPEC.size))
OUTPUTS = Path(__file__).with_name("outputs.npz")
TRAINED_MS, WORST_MS = 3.0, 40.0
"""goals for the time of boxes, milliseconds"""
BOX_SPEEDUP, MAP_SPEEDUP = 5.0, 10.0
"""goals for the speed, as multiples of the reference's"""
MAP_AGREEMENT = 0.995
"""goal for the fraction of class-map pixels that equal the reference's"""
Method = Callable[[Floats, Floats], Detections]
Case = list[tuple[Floats, Floats]]
"""offsets (A, 4) and class logits (A, C) of some images"""


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    outputs: Path = OUTPUTS
    """Raw outputs, from record_outputs.py. Default: the file beside this script."""
    rounds: int = 7
    """Rounds, of which the median is reported, after one round of warm-up. Default: 7."""
    size: tuple[int, int] = (1080, 1920)
    """Height and width of the class map. Default: 1080 1920."""
    threads: int = 1
    """Threads of torch; numpy uses one. Default: 1."""
    seed: int = 0
    json: Path | None = None
    """Write the results to this file."""


@dataclass(frozen=True)
class Row:
    """One method on one case."""

    case: str
    method: str
    milliseconds: float
    """median of one image"""
    speedup: float
    """speed as a multiple of the reference's"""
    agreement: float
    """fraction of detections, or of pixels, that equal the reference's"""


def cases(options: Options) -> dict[str, Case]:
    """The three kinds of raw outputs."""
    rng = np.random.default_rng(options.seed)
    with np.load(options.outputs) as stored:
        trained = list(zip(stored["offsets"].astype(np.float32), stored["logits"].astype(np.float32), strict=True))

    def random_outputs(spread: float) -> tuple[Floats, Floats]:
        offsets = rng.normal(0, 1, (len(ANCHORS), 4)).astype(np.float32)
        return offsets, rng.normal(0, spread, (len(ANCHORS), SPEC.num_channels)).astype(np.float32)

    # with a spread of 0.2 each of the 21 probabilities of every anchor is above the threshold of 0.01
    return {"trained": trained, "random": [random_outputs(3.0)], "all pass": [random_outputs(0.2)]}


def methods() -> dict[str, Method]:
    """All methods by name."""
    module, config = PostprocessModule(SPEC), SPEC.postprocess

    def with_torch(offsets: Floats, logits: Floats) -> Detections:
        with torch.inference_mode():
            outputs = module.detections(torch.from_numpy(offsets)[None], torch.from_numpy(logits)[None])
        boxes, scores, labels, count = (output[0].numpy() for output in outputs)
        return boxes[:count], scores[:count], labels[:count]

    named: dict[str, Method] = {
        "plain loop": lambda offsets, logits: with_loops(offsets, logits, ANCHORS, SPEC, config),
        "blitznet, numpy": lambda offsets, logits: decode_detections(offsets, logits, ANCHORS, SPEC, config),
        "blitznet, torch": with_torch,
        "ONNX operator": lambda offsets, logits: with_onnx(offsets, logits, ANCHORS, SPEC, config),
    }
    if find_spec("cv2"):
        named["OpenCV"] = lambda offsets, logits: with_opencv(offsets, logits, ANCHORS, SPEC, config)
    return named


def time_interleaved(jobs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each job, interleaved."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for index in range(rounds + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            if index:
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def agreement(actual: Detections, expected: Detections) -> float:
    """Fraction of the expected detections that have the same label, score and box at the same rank."""
    (boxes, scores, labels), (expected_boxes, expected_scores, expected_labels) = actual, expected
    count = min(len(boxes), len(expected_boxes))
    equal = np.abs(boxes[:count] - expected_boxes[:count]).max(1, initial=0) < 1e-5
    equal &= labels[:count] == expected_labels[:count]
    equal &= np.abs(scores[:count] - expected_scores[:count]) < 1e-5
    return float(equal.sum()) / max(1, len(boxes), len(expected_boxes))


def box_rows(options: Options) -> list[Row]:
    """All methods on all cases."""
    rows = []
    for case, images in cases(options).items():
        named = methods()
        expected = [named["plain loop"](*image) for image in images]
        equal = {
            name: statistics.mean(agreement(method(*image), row) for image, row in zip(images, expected, strict=True))
            for name, method in named.items()
        }
        times_of_images = [
            time_interleaved({name: partial(method, *image) for name, method in named.items()}, options.rounds)
            for image in images
        ]
        times = {name: statistics.median(image_times[name] for image_times in times_of_images) for name in named}
        rows += [Row(case, name, times[name], times["plain loop"] / times[name], equal[name]) for name in named]
    return rows


def map_rows(options: Options) -> list[Row]:
    """The class map of the first stored image and of noise, by blitznet and by the references."""
    with np.load(options.outputs) as stored:
        trained = stored["segmentation_logits"][0].astype(np.float32)

    def with_torch(logits: Floats) -> ClassMap:
        full = torch.nn.functional.interpolate(torch.from_numpy(logits)[None], size=options.size, mode="bilinear")
        return full[0].argmax(0).to(torch.uint8).numpy()

    named = {"reference, numpy": lambda x: upsample_argmax_full(x, options.size), "reference, torch": with_torch}
    named["blitznet"] = lambda x: upsample_argmax(x, options.size)
    noise = np.random.default_rng(options.seed).normal(0, 3, trained.shape).astype(np.float32)
    rows = []
    for case, logits in {"class map, trained": trained, "class map, noise": noise}.items():
        expected = upsample_argmax_full(logits, options.size)
        equal = {name: float((method(logits) == expected).mean()) for name, method in named.items()}
        times = time_interleaved({name: partial(method, logits) for name, method in named.items()}, options.rounds)
        rows += [Row(case, name, times[name], times["reference, numpy"] / times[name], equal[name]) for name in named]
    return rows


def goals_of(rows: list[Row]) -> list[Goal]:
    """The goals of the benchmark."""
    by_name = {(row.case, row.method): row for row in rows}
    trained, worst = by_name["trained", "blitznet, numpy"], by_name["all pass", "blitznet, numpy"]
    class_map, torch_row = by_name["class map, trained", "blitznet"], by_name["class map, trained", "reference, torch"]
    unit = " times as fast"
    return [
        at_most("boxes of trained outputs", trained.milliseconds, TRAINED_MS, " ms"),
        at_most("boxes of the worst case", worst.milliseconds, WORST_MS, " ms"),
        at_least("boxes, against the plain loop", min(trained.speedup, worst.speedup), BOX_SPEEDUP, unit),
        at_least("boxes, agreement with the plain loop", min(trained.agreement, worst.agreement), 1),
        at_least("class map, against the reference in numpy", class_map.speedup, MAP_SPEEDUP, unit),
        at_least(
            "class map, against the reference in torch",
            torch_row.milliseconds / class_map.milliseconds,
            MAP_SPEEDUP,
            unit,
        ),
        at_least("class map, agreement with the reference", class_map.agreement, MAP_AGREEMENT),
    ]


def main(options: Options) -> None:
    """Measure, print and write."""
    if not options.outputs.is_file():
        print(f"skipped: there are no outputs in {options.outputs}; record_outputs.py writes them")
        sys.exit(0)
    torch.set_num_threads(options.threads)
    rows = box_rows(options) + map_rows(options)
    cells = [
        (row.case, row.method, f"{row.milliseconds:.2f}", f"{row.speedup:.1f}", f"{row.agreement:.2%}") for row in rows
    ]
    note = f"milliseconds of one image, median; class map of {options.size[1]} x {options.size[0]} pixels"
    table = Table("postprocessing", ("outputs", "method", "ms", "times as fast", "agreement"), cells, (note,))
    goals = goals_of(rows)
    print_results([table], goals)
    write_json(options.json, options, rows=rows, goals=goals, tables=[table])


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
