"""blitznet beside the networks of other projects: a detector, a segmenter, or both to compute what blitznet computes.

All use the same images and the same number of threads. They are interleaved, each in its own process, and one computes
at a time. First each network runs on every engine and in every precision. Then the fastest setup of each blitznet model
runs against the fastest setup of each detector with the fastest segmenter. The code around the competitors' networks is
made as fast as blitznet's. Their int8 files are made here with onnxruntime's quantization and have no accuracy.

`python -m benchmarks.competitors.run --json competitors.json --figure docs/images/speed.png`
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import tyro

from benchmarks._lib.results import (
    DATA,
    Goal,
    Table,
    at_least,
    at_most,
    notify,
    percent,
    print_results,
    require_images,
    write_json,
)
from benchmarks.competitors.jobs import Entry, Measurement, Row, blitznet_entry, competitor_entry
from benchmarks.competitors.networks import COMPETITORS, PEERS, SEGMENTER, Competitor, Runtime, Setup
from blitznet.bench.interleaved import run_interleaved
from blitznet.bench.timing import latency
from blitznet.core.errors import BlitzNetError, UsageError
from blitznet.core.models import DEFAULT
from blitznet.core.spec import Precision
from blitznet.runtime.threads import available_threads

MIN_FRAMES, TIMES_PAIR, TIMES_SSDLITE = 120.0, 3.0, 1.4
"""goals of the default model: frames per second, multiple of a pair's, network time as a multiple of SSDLite's"""
LARGE_MODEL = "blitznet300-s4"
LARGE_MODEL_FRAMES: dict[str, float] = {"int8": 22.0, "bfloat16": 13.0}
"""goals of LARGE_MODEL: precision -> frames per second"""
DETECTOR = COMPETITORS[0]
"""the detector that the goals compare with, alone and in a pair with the segmenter"""
SETTINGS: tuple[tuple[Runtime, Precision], ...] = (
    ("onnxruntime", "float32"),
    ("onnxruntime", "int8"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("openvino", "int8"),
)


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    models: tuple[str, ...] = (DEFAULT, "blitznet300-s4")
    """blitznet models: names, ONNX files (in their own precision) and .safetensors files. A name without weights in the
    package has random ones."""
    scores: tuple[str, ...] = ()
    """Accuracy of the default model: PRECISION=FILE, with a file from `blitznet eval --json`."""
    images: int = 40
    """Number of images of VOC2012@val, evenly spaced. Default: 40."""
    calibration_images: int = 64
    """Number of images of VOC2012@train for int8 quantization. Default: 64."""
    rounds: int = 5
    """Rounds over all images, after one round of warm-up. Default: 5."""
    threads: int = available_threads()
    """Threads. Default: one per core."""
    root: Path = DATA
    """Folder of the images. Default: ../shared/data."""
    peers: Path = PEERS
    """Folder of the competitors. Default: ../shared/peers."""
    figure: Path | None = None
    """Draw a figure of speed and accuracy to this file."""
    json: Path | None = None
    """Write the results to this file."""


Accuracy = tuple[float | None, float | None]
"""AP50 and mIoU, fractions"""


def main(options: Options) -> None:
    """Measure, print and write."""
    require_images(options.root)
    if not options.peers.is_dir():
        print(f"skipped: there are no competitors in {options.peers}; name another folder with --peers")
        return
    accuracy = read_accuracies(options)
    images = evenly_spaced(options.root, "val", options.images)
    with TemporaryDirectory() as folder:
        notify("exporting and quantizing")
        entries = [*blitznet_entries(options, images, Path(folder))]
        entries += competitor_entries(options, images, Path(folder))
        notify(f"{len(entries)} single networks")
        single = measure(entries, options.rounds, accuracy)
        notify("fastest setups and pairs")
        finalists = fastest(entries, single, images, options.peers)
        final = measure(finalists, options.rounds, accuracy)
    tables, goals = report_tables(single, final, options), goals_of(single, final)
    print_results(tables, goals)
    if options.figure:
        from benchmarks.competitors.plot import draw

        draw(options.figure, single, final)
    engines = {name: version(name) for name in get_args(Runtime)}
    write_json(options.json, options, engines=engines, single=single, final=final, goals=goals, tables=tables)


def measure(entries: Sequence[Entry], rounds: int, accuracy: dict[tuple[str, str], Accuracy]) -> list[Row]:
    """Results of all entries, interleaved."""
    results = run_interleaved([entry.job for entry in entries], rounds)
    return [_row(entry, measurements, accuracy) for entry, measurements in zip(entries, results, strict=True)]


def fastest(entries: Sequence[Entry], single: Sequence[Row], images: Sequence[Path], folder: Path) -> list[Entry]:
    """The fastest setup of each blitznet model; on each engine the fastest of each detector with the segmenter's.

    Both networks of a pair run on the same engine, because the idle threads of one engine would slow down another.
    """
    best: dict[tuple[str, str], tuple[float, Entry]] = {}
    for row, entry in zip(single, entries, strict=True):
        key = (entry.title, "" if entry.kind == "blitznet" else entry.engine)
        if key not in best or row.total.median < best[key][0]:
            best[key] = (row.total.median, entry)
    selected = [entry for _, entry in best.values()]
    segmenters = {entry.engine: entry for entry in selected if entry.kind == "segmenter"}
    pairs = [
        competitor_entry((*entry.parts, *segmenters[entry.engine].parts), images, folder)
        for entry in selected
        if entry.kind == "detector"
    ]
    return [*(entry for entry in selected if entry.kind == "blitznet"), *pairs]


def goals_of(single: Sequence[Row], final: Sequence[Row]) -> list[Goal]:
    """The goals of the default model, if it was measured."""
    default_rows = [row for row in final if row.title == DEFAULT]
    if not default_rows:
        return []
    default, pairs = default_rows[0], [row for row in final if row.kind == "pair"]
    named_pairs = [row for row in pairs if row.title == f"{DETECTOR.title} + {SEGMENTER.title}"]
    name = f"{DEFAULT}, image to boxes and full-size class map, in a stream"
    goals = [at_least(name, default.streamed_per_second, MIN_FRAMES, " frames/s")]
    for how, speed in (("one by one", _one_by_one), ("in a stream", _streamed)):
        for rows, which in ((named_pairs, ""), (pairs, "the fastest pair, ")):
            competitor = max(rows, key=speed)
            name = f"its frames/s {how} against {which}{competitor.title}"
            goals.append(at_least(name, speed(default) / speed(competitor), TIMES_PAIR, " times"))
    detectors = {(row.engine, row.precision): row for row in single if row.title == DETECTOR.title}
    for row in single:
        detector = detectors.get((row.engine, row.precision))
        if row.title == DEFAULT and detector is not None:
            name = f"its network's time against {DETECTOR.title}'s, {row.engine} {row.precision}"
            goals.append(at_most(name, row.network.median / detector.network.median, TIMES_SSDLITE, " times"))
    return [*goals, *_large_model_goals(single)]


def _large_model_goals(single: Sequence[Row]) -> Iterator[Goal]:
    for precision, frames in LARGE_MODEL_FRAMES.items():
        rows = [row for row in single if row.title == LARGE_MODEL and row.precision == precision]
        if rows:
            best = max(rows, key=_streamed)
            name = f"{LARGE_MODEL}, image to result, in a stream, {precision}"
            yield at_least(name, best.streamed_per_second, frames, " frames/s")


def _one_by_one(row: Row) -> float:
    return row.frames_per_second


def _streamed(row: Row) -> float:
    return row.streamed_per_second


def blitznet_entries(options: Options, images: Sequence[Path], folder: Path) -> Iterator[Entry]:
    """Each blitznet model in each precision that it has a file for, on the engines that run it."""
    from benchmarks.competitors.model_files import model_files
    from blitznet.core.image import ImageSource

    calibration = [ImageSource(path) for path in evenly_spaced(options.root, "train", options.calibration_images)]
    for model in options.models:
        for file, spec in model_files(model, folder, calibration):
            for runtime, precision in SETTINGS:
                if precision == spec.precision:
                    yield blitznet_entry(file, runtime, spec, images, options.threads)


def competitor_entries(options: Options, images: Sequence[Path], folder: Path) -> Iterator[Entry]:
    """Each competitor on both engines in all precisions."""
    from benchmarks.competitors.model_files import quantize_competitor
    from blitznet.core.image import ImageSource

    calibration = [
        ImageSource(path).read() for path in evenly_spaced(options.root, "train", options.calibration_images)
    ]
    for competitor in COMPETITORS:
        int8_file = quantize_competitor(competitor, calibration, folder / f"{competitor.name}-int8.onnx", options.peers)
        for runtime, precision in SETTINGS:
            setup = Setup(runtime, precision, options.threads, int8_file if precision == "int8" else None)
            yield competitor_entry([(competitor, setup)], images, options.peers)


def evenly_spaced(root: Path, split: str, count: int) -> list[Path]:
    """Images of VOC2012, evenly spaced in the list of the split."""
    voc = root / "VOCdevkit" / "VOC2012"
    ids = (voc / "ImageSets" / "Main" / f"{split}.txt").read_text().split()
    return [voc / "JPEGImages" / f"{ids[index * len(ids) // count]}.jpg" for index in range(count)]


def read_accuracies(options: Options) -> dict[tuple[str, str], Accuracy]:
    """(title, precision) -> accuracy: of the default model from --scores, of competitors in float32 from their page."""
    accuracies: dict[tuple[str, str], Accuracy] = {}
    for text in options.scores:
        precision, equals, file = text.partition("=")
        if not equals or precision not in get_args(Precision):
            raise UsageError(f"--scores: expected PRECISION=FILE, got {text}")
        scores: dict[str, Any] = json.loads(Path(file).read_text())
        accuracies[DEFAULT, precision] = (scores["detection"]["ap50_frequent"], scores["segmentation"]["miou"])
    page = (options.peers / "README.md").read_text()
    return accuracies | {(competitor.title, "float32"): _published(competitor, page) for competitor in COMPETITORS}


def _published(competitor: Competitor, page: str) -> Accuracy:
    """The accuracy in the Markdown table of the competitors' page."""
    line = next((line for line in page.splitlines() if line.startswith(f"| {competitor.file} ")), None)
    if line is None:
        return None, None
    ap50, voc12 = [cell.strip() for cell in line.split("|")][5:7]
    miou = re.search(r"mIoU ([\d.]+)", voc12)
    return (float(ap50) if re.fullmatch(r"[\d.]+", ap50) else None), float(miou[1]) if miou else None


def _row(entry: Entry, measurements: Sequence[Measurement], accuracy: dict[tuple[str, str], Accuracy]) -> Row:
    total = latency([time for measurement in measurements for time in measurement.total])
    return Row(
        entry.title,
        entry.kind,
        entry.engine,
        entry.precision,
        latency([time for measurement in measurements for time in measurement.network]),
        total,
        total.per_second,
        latency([measurement.streamed for measurement in measurements]).per_second,
        measurements[-1].memory / 1e6,
        *_accuracy(entry, accuracy),
    )


def _accuracy(entry: Entry, accuracy: dict[tuple[str, str], Accuracy]) -> Accuracy:
    """The accuracy of an entry; of a pair, that of its parts."""
    keys: list[tuple[str, str]] = [(competitor.title, setup.precision) for competitor, setup in entry.parts]
    keys = keys or [(entry.title, entry.precision)]
    ap50s, mious = zip(*(accuracy.get(key, (None, None)) for key in keys), strict=True)
    return next((v for v in ap50s if v is not None), None), next((v for v in mious if v is not None), None)


def report_tables(single: Sequence[Row], final: Sequence[Row], options: Options) -> list[Table]:
    """A table of the single networks and one of the fastest setups."""
    columns = ("", "engine", "precision", "network", "total", "frames/s", "stream/s", "MB", "AP50", "mIoU")
    cells = [
        [
            (
                row.title,
                row.engine,
                row.precision,
                f"{row.network.median:.2f} / {row.network.p95:.2f}",
                f"{row.total.median:.2f} / {row.total.p95:.2f}",
                f"{row.frames_per_second:.1f}",
                f"{row.streamed_per_second:.1f}",
                f"{row.peak_memory:.0f}",
                percent(row.ap50),
                percent(row.miou),
            )
            for row in rows
        ]
        for rows in (single, final)
    ]
    notes = (
        f"milliseconds, median / 95th percentile; {options.images} images of VOC2012@val at their own size (at most "
        f"500 x 500), batch 1, threads: {options.threads}; MB: peak memory of the process",
        "total: from an RGB array to boxes, to the full-size class map, or to both; frames/s: one image after the "
        "other; stream/s: several images at once, each in a replica of one thread",
        "AP50 and mIoU of the competitors are those of their page, float32; their int8 and bfloat16 files were not "
        "scored",
    )
    return [
        Table("single networks", columns, cells[0], notes),
        Table("boxes and class map: the fastest setup of each", columns, cells[1]),
    ]


if __name__ == "__main__":
    try:
        main(tyro.cli(Options, description=__doc__))
    except BlitzNetError as error:
        raise SystemExit(f"error: {error}") from error
