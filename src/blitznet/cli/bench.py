"""`blitznet bench`: how long every stage from image to result takes on this machine."""

import os
import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from blitznet.cli.console import bars, stdout
from blitznet.cli.engines import ThreadsFlag
from blitznet.cli.files import prepare_files, write_json
from blitznet.cli.flags import metavar
from blitznet.core.errors import UsageError
from blitznet.core.models import DEFAULT
from blitznet.runtime.engine import EngineName

if TYPE_CHECKING:
    from rich.table import Table

    from blitznet.bench.timing import Latency, Times

PACKAGES = ("blitznet", "numpy", "pillow")
"""whose versions are told; that of an engine stands beside it"""
STREAMED = 4
"""times that a stream has every image: its first and last are alone"""


@dataclass(frozen=True)
class Bench:
    """Time decoding, resizing, the network, its post-processing, the class map, and all of it as one call.

    Several models or engines take turns, each in a process of its own, of which one computes at a time.
    """

    models: Annotated[tuple[str, ...], tyro.conf.Positional, metavar("[MODEL|FILE ...]")] = ()
    """Names of models of the package, files that `export` wrote, or .safetensors files or run folders (which need
    the extra `train`). Not given: blitznet300-lite."""
    engine: Annotated[tuple[EngineName, ...], tyro.conf.arg(metavar="ENGINE [ENGINE ...]")] = ("auto",)
    """What computes the network: auto (the fastest that is installed), onnxruntime, openvino, torch, torch-compiled,
    onnxruntime-cuda, onnxruntime-tensorrt. Every model is timed on each."""
    image_size: Annotated[str, tyro.conf.arg(metavar="WxH")] = "500x375"
    """Size the images are brought to beforehand, pixels."""
    images: Annotated[tuple[str, ...], metavar("SOURCE [SOURCE ...]")] = ()
    """Images, folders and quoted globs to time on. Not given: the sample images of the package."""
    rounds: int = 20
    """How often every image is timed; one round more is run first to warm up."""
    threads: ThreadsFlag = None
    """Threads of computing. Not given: one for each processor."""
    json: Annotated[Path | None, metavar("FILE")] = None
    """File for the figures as JSON."""


@dataclass(frozen=True, slots=True)
class Case:
    """One model on one engine, and what it is timed on."""

    model: str
    engine: EngineName
    threads: int
    images: tuple[Path, ...]
    size: tuple[int, int]
    """(H, W) of the images"""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one round in a process gave."""

    model: str
    engine: str
    precision: str
    times: "list[Times]"
    """of each image"""
    streamed: float
    """milliseconds a image of a stream of them"""
    memory: int
    """bytes, the most the process ever held"""


@dataclass(frozen=True, slots=True)
class Row:
    """One model on one engine, over all rounds."""

    model: str
    engine: str
    """name and version"""
    precision: str
    samples: int
    """measurements behind each figure"""
    stages: "dict[str, Latency]"
    """milliseconds"""
    frames_per_second: float
    """from an array to boxes and class map, by the median"""
    streamed_per_second: float
    """the same in a stream that looks at several images at once, by the median over rounds"""
    peak_memory: float
    """MB of the whole process"""


def run(options: Bench) -> int:
    """Time every model on every engine, print one table."""
    from blitznet.bench.interleaved import run_interleaved
    from blitznet.runtime.image_paths import find_images
    from blitznet.runtime.threads import threads_for

    prepare_files(options.json)
    if options.rounds < 1:
        raise UsageError(f"--rounds: expected 1 or more, got {options.rounds}")
    size, threads = _size(options.image_size), threads_for(options.threads)
    images = tuple(find_images(options.images))
    cases = [
        Case(model, engine, threads, images, size)
        for model in options.models or (DEFAULT,)
        for engine in options.engine
    ]
    with bars() as show:
        turns = run_interleaved(
            [partial(open_case, case) for case in cases], options.rounds, watch=partial(show, "turns")
        )
    rows = [_row(given) for given in turns]
    about = {"machine": machine(), "threads": threads, "images": len(images), "image_size": options.image_size}
    if options.json is not None:
        write_json(options.json, {**_circumstances(), **about, "rows": [asdict(row) for row in rows]})
    console = stdout()
    console.print(_table(rows))
    console.print(_caption(about), markup=False, soft_wrap=True)
    return 0


def open_case(case: Case) -> Callable[[], Turn]:
    """In its process: the images, the predictor, and what it does in a turn."""
    from blitznet.api import load
    from blitznet.bench.timing import load_bench_image

    shots = [load_bench_image(path, case.size) for path in case.images]
    predictor = load(case.model, engine=case.engine, threads=case.threads)

    def turn() -> Turn:
        from blitznet.bench.timing import library_version, peak_memory, time_stages, time_stream

        engine, spec = predictor.engine, predictor.spec
        times = [time_stages(predictor, one) for one in shots]
        named = f"{engine.name} {library_version(engine.name)}".strip()
        streamed = time_stream(predictor, [one.pixels for one in shots] * STREAMED)
        return Turn(spec.name, named, spec.precision, times, streamed, peak_memory())

    return turn


def machine() -> dict[str, Any]:
    """Processor, how many of its cores this process may use, system."""
    from blitznet.runtime.threads import available_threads

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": available_threads(),
        "of": os.cpu_count(),
        "system": platform.platform(),
    }


def _circumstances() -> dict[str, Any]:
    return {
        "command": shlex.join(["blitznet", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }


def _size(text: str) -> tuple[int, int]:
    """(H, W) of `500x375`."""
    width, cross, height = text.partition("x")
    if not (cross and width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
        raise UsageError(f"--image-size: expected WxH such as 500x375, got '{text}'")
    if not int(width) or not int(height):
        raise UsageError(f"--image-size: expected sides of 1 or more pixels, got '{text}'")
    return int(height), int(width)


def _row(turns: Sequence[Turn]) -> Row:
    from blitznet.bench.timing import latencies, latency

    times = [one for turn in turns for one in turn.times]
    stages, last = latencies(times), turns[-1]
    return Row(
        model=last.model,
        engine=last.engine,
        precision=last.precision,
        samples=len(times),
        stages=stages,
        frames_per_second=stages["total"].per_second,
        streamed_per_second=latency([turn.streamed for turn in turns]).per_second,
        peak_memory=last.memory / 1e6,
    )


def _table(rows: Sequence[Row]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    from blitznet.bench.timing import STAGES

    table = Table(box=None, pad_edge=False)
    for title in ("model", "engine", "precision"):
        table.add_column(title)
    for title in (*STAGES, "frames/s", "stream/s", "MB"):
        table.add_column(title, justify="right")
    for row in rows:
        stages = [row.stages.get(stage) for stage in STAGES]
        cells = [f"{one.median:.2f} / {one.p95:.2f}" if one else "-" for one in stages]
        cells += [f"{row.frames_per_second:.1f}", f"{row.streamed_per_second:.1f}", f"{row.peak_memory:.0f}"]
        table.add_row(Text(row.model), Text(row.engine), row.precision, *cells)
    return table


def _caption(about: dict[str, Any]) -> str:
    """What the figures are, and where they were taken."""
    here, versions = about["machine"], _circumstances()["versions"]
    return (
        f"milliseconds, median / 95th percentile, {about['images']} images of {about['image_size']}, batch 1, "
        f"threads: {about['threads']}; total: from an RGB array to boxes and full-size class map, measured by itself; "
        f"stream/s: images a second of a stream, on every thread one; MB: the most memory the process held\n"
        f"{here['processor']}, {here['cores']} of {here['of']} cores, {here['system']}; "
        f"{', '.join(f'{name} {number}' for name, number in versions.items())}"
    )
