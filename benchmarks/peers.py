"""Our networks beside what a user would run instead, in one run: a detector, a segmenter, or both for what ours gives.

Same images, same threads; everything takes turns, each in a process of its own, of which one computes at a time.
First every network by itself on every engine and in every precision; then the fastest of each of ours against the
fastest of each detector with the fastest segmenter. What is done around the peers' networks is made as fast as
ours; their 8-bit files are made here, by onnxruntime's quantisation, and their accuracy is not known.

`python benchmarks/peers.py --json peers.json --picture docs/benchmarks.png`
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

from blitznet.bench.interleaved import run_interleaved
from blitznet.bench.timing import Latency, latency
from blitznet.core.errors import BlitzNetError, UsageError
from blitznet.core.models import DEFAULT
from blitznet.core.spec import Precision
from blitznet.runtime.threads import available_threads
from contenders import Contender, Kind, Turn, ours, theirs
from rivals import HOME, PEERS, SEGMENTER, Peer, Runtime, Setup
from tables import Table, Verdict, at_least, at_most, print_all

DATA = Path(__file__).parents[2] / "shared" / "data"
FRAMES, TIMES_THE_PAIR, TIMES_SSDLITE = 120.0, 3.0, 1.4
"""what is promised of the default model"""
HEAVY = "blitznet300-s4"
HEAVY_FRAMES: dict[str, float] = {"int8": 22.0, "bfloat16": 13.0}
"""what is promised of the paper's network, by precision"""
DETECTOR = PEERS[0]
"""the one whose network, and whose pair with the segmenter, the promises name"""
SETTINGS: tuple[tuple[Runtime, Precision], ...] = (
    ("onnxruntime", "float32"),
    ("onnxruntime", "int8"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("openvino", "int8"),
)


@dataclass(frozen=True)
class Options:
    """What is timed."""

    models: tuple[str, ...] = (DEFAULT, "blitznet300-s4")
    """of ours: names, ONNX files (in the precision they are made for) and safetensors files; a name without weights
    in the package has random ones"""
    scores: tuple[str, ...] = ()
    """accuracy of the default: PRECISION=FILE, of a file that `blitznet eval --json` wrote"""
    images: int = 40
    """of VOC2012@val, evenly spaced"""
    calibrate: int = 64
    """of VOC2012@train, by which the peers are quantised, and ours that the package has no such file of"""
    rounds: int = 5
    """over all images; one more is run first to warm up"""
    threads: int = available_threads()
    root: Path = DATA
    peers: Path = HOME
    picture: Path | None = None
    """file for a picture of speed and accuracy"""
    json: Path | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """What was found of one contender, milliseconds."""

    title: str
    kind: Kind
    engine: str
    precision: str
    network: Latency
    whole: Latency
    frames_per_second: float
    streamed_per_second: float
    """with a image on every thread"""
    peak_memory: float
    """MB"""
    ap50: float | None = None
    """pooled"""
    miou: float | None = None


Accuracy = tuple[float | None, float | None]
"""pooled AP50 and mIoU, fractions"""


def main(options: Options) -> None:
    """Measure, print, write."""
    from report import require_images, say, write

    require_images(options.root)
    if not options.peers.is_dir():
        print(f"skipped: the peers are not in {options.peers} (--peers names another folder)")
        return
    accuracy = accuracies(options)
    images = evenly(options.root, "val", options.images)
    with TemporaryDirectory() as folder:
        say("files")
        contenders = [*our_contenders(options, images, Path(folder)), *their_contenders(options, images, Path(folder))]
        say(f"{len(contenders)} networks by themselves")
        alone = measure(contenders, options.rounds, accuracy)
        say("against each other")
        finalists = fastest(contenders, alone, images, options.peers)
        final = measure(finalists, options.rounds, accuracy)
    tables, verdicts = report_tables(alone, final, options), judge(alone, final)
    print_all(tables, verdicts)
    if options.picture:
        from scatter import draw

        draw(options.picture, alone, final)
    engines = {name: version(name) for name in get_args(Runtime)}
    write(options.json, options, engines=engines, alone=alone, final=final, verdicts=verdicts, tables=tables)


def measure(contenders: Sequence[Contender], rounds: int, accuracy: dict[tuple[str, str], Accuracy]) -> list[Row]:
    """All of them in turn."""
    turns = run_interleaved([one.job for one in contenders], rounds)
    return [_row(one, given, accuracy) for one, given in zip(contenders, turns, strict=True)]


def fastest(
    contenders: Sequence[Contender], alone: Sequence[Row], images: Sequence[Path], home: Path
) -> list[Contender]:
    """The fastest of each of ours; on each engine, each detector's fastest with the segmenter's.

    A pair has one engine for both: the threads of one that has just run would disturb the other.
    """
    best: dict[tuple[str, str], tuple[float, Contender]] = {}
    for row, one in zip(alone, contenders, strict=True):
        key = (one.title, "" if one.kind == "ours" else one.engine)
        if key not in best or row.whole.median < best[key][0]:
            best[key] = (row.whole.median, one)
    chosen = [one for _, one in best.values()]
    segmenters = {one.engine: one for one in chosen if one.kind == "segmenter"}
    detectors = [one for one in chosen if one.kind == "detector"]
    pairs = [theirs((*one.parts, *segmenters[one.engine].parts), images, home) for one in detectors]
    return [*(one for one in chosen if one.kind == "ours"), *pairs]


def judge(alone: Sequence[Row], final: Sequence[Row]) -> list[Verdict]:
    """What was promised of the default, where it took part."""
    found = [row for row in final if row.title == DEFAULT]
    if not found:
        return []
    best, pairs = found[0], [row for row in final if row.kind == "pair"]
    own = [row for row in pairs if row.title == f"{DETECTOR.title} + {SEGMENTER.title}"]
    verdicts = [
        at_least(
            f"{DEFAULT}, image to boxes and full-size class map, in a stream",
            best.streamed_per_second,
            FRAMES,
            " frames/s",
        )
    ]
    unit = " times"
    for how, speed in (("one by one", _one_by_one), ("in a stream", _streamed)):
        for rows, which in ((own, ""), (pairs, "the fastest pair, ")):
            rival = max(rows, key=speed)
            what = f"its frames/s {how} against {which}{rival.title}"
            verdicts.append(at_least(what, speed(best) / speed(rival), TIMES_THE_PAIR, unit))
    settings = {(row.engine, row.precision): row for row in alone if row.title == DETECTOR.title}
    for row in alone:
        other = settings.get((row.engine, row.precision))
        if row.title == DEFAULT and other is not None:
            what = f"its network's time against {DETECTOR.title}'s, {row.engine} {row.precision}"
            verdicts.append(at_most(what, row.network.median / other.network.median, TIMES_SSDLITE, unit))
    return [*verdicts, *_judge_heavy(alone)]


def _judge_heavy(alone: Sequence[Row]) -> Iterator[Verdict]:
    for precision, expected in HEAVY_FRAMES.items():
        rows = [row for row in alone if row.title == HEAVY and row.precision == precision]
        if rows:
            best = max(rows, key=_streamed)
            yield at_least(
                f"{HEAVY}, the whole way in a stream, {precision}", best.streamed_per_second, expected, " frames/s"
            )


def _one_by_one(row: Row) -> float:
    return row.frames_per_second


def _streamed(row: Row) -> float:
    return row.streamed_per_second


def our_contenders(options: Options, images: Sequence[Path], folder: Path) -> Iterator[Contender]:
    """Each model in every precision there is a file for, on the engines that run it."""
    from blitznet.core.image import ImageSource
    from own import files_of

    calibration = [ImageSource(path) for path in evenly(options.root, "train", options.calibrate)]
    for model in options.models:
        for file, spec in files_of(model, folder, calibration):
            for runtime, precision in SETTINGS:
                if precision == spec.precision:
                    yield ours(file, runtime, spec, images, options.threads)


def their_contenders(options: Options, image_sources: Sequence[Path], folder: Path) -> Iterator[Contender]:
    """Each peer by itself, on both engines."""
    from blitznet.core.image import ImageSource
    from quantise import quantise

    images = [ImageSource(path).read() for path in evenly(options.root, "train", options.calibrate)]
    for peer in PEERS:
        small = quantise(peer, images, folder / f"{peer.name}-int8.onnx", options.peers)
        for runtime, precision in SETTINGS:
            setup = Setup(runtime, precision, options.threads, small if precision == "int8" else None)
            yield theirs([(peer, setup)], image_sources, options.peers)


def evenly(root: Path, split: str, count: int) -> list[Path]:
    """Images of VOC2012, evenly from the whole list."""
    voc = root / "VOCdevkit" / "VOC2012"
    ids = (voc / "ImageSets" / "Main" / f"{split}.txt").read_text().split()
    return [voc / "JPEGImages" / f"{ids[place * len(ids) // count]}.jpg" for place in range(count)]


def accuracies(options: Options) -> dict[tuple[str, str], Accuracy]:
    """By title and precision: ours from the files that were given, the peers' in float32 from their page."""
    found: dict[tuple[str, str], Accuracy] = {}
    for text in options.scores:
        precision, equals, file = text.partition("=")
        if not equals or precision not in get_args(Precision):
            raise UsageError(f"--scores: expected PRECISION=FILE, got {text}")
        scores: dict[str, Any] = json.loads(Path(file).read_text())
        found[DEFAULT, precision] = (scores["detection"]["ap50_pooled"], scores["segmentation"]["miou"])
    page = (options.peers / "README.md").read_text()
    return found | {(peer.title, "float32"): _published(peer, page) for peer in PEERS}


def _published(peer: Peer, page: str) -> Accuracy:
    line = next((line for line in page.splitlines() if line.startswith(f"| {peer.file} ")), None)
    if line is None:
        return None, None
    pooled, own = [cell.strip() for cell in line.split("|")][5:7]
    miou = re.search(r"mIoU ([\d.]+)", own)
    return (float(pooled) if re.fullmatch(r"[\d.]+", pooled) else None), float(miou[1]) if miou else None


def _row(one: Contender, turns: Sequence[Turn], accuracy: dict[tuple[str, str], Accuracy]) -> Row:
    whole = latency([time for turn in turns for time in turn.whole])
    return Row(
        one.title,
        one.kind,
        one.engine,
        one.precision,
        latency([time for turn in turns for time in turn.network]),
        whole,
        whole.per_second,
        latency([turn.streamed for turn in turns]).per_second,
        turns[-1].memory / 1e6,
        *_accuracy(one, accuracy),
    )


def _accuracy(one: Contender, accuracy: dict[tuple[str, str], Accuracy]) -> Accuracy:
    """A pair's is its parts'."""
    parts: list[tuple[str, str]] = [(peer.title, setup.precision) for peer, setup in one.parts]
    parts = parts or [(one.title, one.precision)]
    ap50s, mious = zip(*(accuracy.get(part, (None, None)) for part in parts), strict=True)
    return next((v for v in ap50s if v is not None), None), next((v for v in mious if v is not None), None)


def report_tables(alone: Sequence[Row], final: Sequence[Row], options: Options) -> list[Table]:
    """One for each phase."""
    from report import percent

    columns = ("", "engine", "precision", "network", "whole way", "frames/s", "stream/s", "MB", "AP50 pooled", "mIoU")
    both = [
        [
            (
                row.title,
                row.engine,
                row.precision,
                f"{row.network.median:.2f} / {row.network.p95:.2f}",
                f"{row.whole.median:.2f} / {row.whole.p95:.2f}",
                f"{row.frames_per_second:.1f}",
                f"{row.streamed_per_second:.1f}",
                f"{row.peak_memory:.0f}",
                percent(row.ap50),
                percent(row.miou),
            )
            for row in rows
        ]
        for rows in (alone, final)
    ]
    notes = (
        f"milliseconds, median / 95th percentile; {options.images} images of VOC2012@val at their own size (at most "
        f"500 x 500), batch 1, threads: {options.threads}; MB: the most memory the process held",
        "whole way: from an RGB array to boxes, to the full-size class map, or to both; frames/s: one image after the "
        "other; stream/s: on every thread one image, in networks of one thread",
        "the peers' AP50 and mIoU are those of their page, float32; their 8-bit and bfloat16 files were not scored",
    )
    return [
        Table("every network by itself", columns, both[0], notes),
        Table("boxes and class map: the fastest of each", columns, both[1]),
    ]


if __name__ == "__main__":
    try:
        main(tyro.cli(Options, description=__doc__))
    except BlitzNetError as error:
        raise SystemExit(f"error: {error}") from error
