"""`blitznet bench`: latency and throughput of models on this machine."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from blitznet.cli.console import progress_bars, stdout_console
from blitznet.cli.engines import ThreadsFlag, TrustFlag
from blitznet.cli.files import prepare_files, write_json
from blitznet.cli.flags import Imgsz, OverwriteFlag, metavar, parse_imgsz
from blitznet.core.errors import UsageError
from blitznet.core.models import DEFAULT
from blitznet.runtime.engine import EngineName

if TYPE_CHECKING:
    from rich.table import Table

    from blitznet.bench.measure import BenchRow

DEFAULT_IMAGE_SIZE = (375, 500)
"""default size (H, W) of the images: that of most VOC images"""


@dataclass(frozen=True)
class Bench:
    """Measure latency by stage, throughput and memory of models.

    Each model runs on each engine in a process of its own; the processes take turns, one at a time. Stages are
    decoding, resizing, the network, post-processing and the class map; `total` is one call from array to result.

    Examples:
        blitznet bench
        blitznet bench blitznet300-lite blitznet416-lite --engine onnxruntime openvino --json bench.json
    """

    models: Annotated[tuple[str, ...], tyro.conf.Positional, metavar("[MODEL ...]")] = ()
    """Names of models in the package, model files, or folders of training runs. Default: blitznet300-lite."""
    engine: Annotated[tuple[EngineName, ...], metavar("ENGINE [ENGINE ...]")] = ("auto",)
    """Inference engines: auto, onnxruntime, openvino, torch, torch-compiled, onnxruntime-cuda or onnxruntime-tensorrt.
    Default: auto, the fastest that is installed."""
    imgsz: Imgsz = None
    """Size to resize the images to before measuring. Default: 375 500."""
    images: Annotated[tuple[str, ...], metavar("SOURCE [SOURCE ...]")] = ()
    """Images, folders and quoted globs. Default: the sample images in the package."""
    rounds: Annotated[int, metavar("N")] = 20
    """Measurements of each image, after one round to warm up. Default: 20."""
    threads: ThreadsFlag = None
    json: Annotated[Path | None, metavar("FILE")] = None
    """Write the figures as JSON to this file. Default: do not."""
    overwrite: OverwriteFlag = False
    trust: TrustFlag = False


def run(options: Bench) -> int:
    """Measure every model on every engine and print one table."""
    from blitznet.api import load
    from blitznet.bench.interleaved import run_interleaved
    from blitznet.bench.machine import describe_machine, describe_run
    from blitznet.bench.measure import BenchCase, open_case, summarize
    from blitznet.runtime.image_paths import find_images
    from blitznet.runtime.threads import resolve_threads

    if options.rounds < 1:
        raise UsageError(f"--rounds: expected 1 or more, got {options.rounds}")
    size, threads = parse_imgsz(options.imgsz) or DEFAULT_IMAGE_SIZE, resolve_threads(options.threads)
    images = tuple(find_images(options.images))
    prepare_files(options.json, overwrite=options.overwrite, inputs=images)
    cases = [
        BenchCase(model, engine, threads, images, size)
        for model in options.models or (DEFAULT,)
        for engine in options.engine
    ]
    with progress_bars() as progress:
        rounds = run_interleaved(
            [partial(open_case, case, partial(load, trust=options.trust)) for case in cases],
            options.rounds,
            progress=progress,
        )
    rows = [summarize(case_rounds) for case_rounds in rounds]
    report = {
        **describe_run("blitznet"),
        "machine": asdict(describe_machine()),
        "threads": threads,
        "images": len(images),
        "image_size": f"{size[1]}x{size[0]}",
    }
    if options.json is not None:
        write_json(options.json, {**report, "rows": [asdict(row) for row in rows]})
    console = stdout_console()
    console.print(_table(rows))
    console.print(_caption(report), markup=False, soft_wrap=True)
    return 0


def _table(rows: "Sequence[BenchRow]") -> "Table":
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
        cells = [f"{latency.median:.2f} / {latency.p95:.2f}" if latency else "-" for latency in stages]
        cells += [f"{row.frames_per_second:.1f}", f"{row.streamed_per_second:.1f}", f"{row.peak_memory:.0f}"]
        table.add_row(Text(row.model), Text(row.engine), row.precision, *cells)
    return table


def _caption(report: dict[str, Any]) -> str:
    """The units of the table, and the machine and versions of the measurement."""
    machine, versions = report["machine"], report["versions"]
    return (
        f"milliseconds, median / 95th percentile, {report['images']} images of {report['image_size']}, batch 1, "
        f"threads: {report['threads']}; total: one call from an RGB array to boxes and full-size class map; "
        f"stream/s: images per second of a stream with a single-threaded replica per thread; MB: peak memory\n"
        f"{machine['processor']}, {machine['cores']} of {machine['total_cores']} cores, {machine['system']}; "
        f"{', '.join(f'{name} {number}' for name, number in versions.items())}"
    )
