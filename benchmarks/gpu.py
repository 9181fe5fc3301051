"""All timings on a GPU, in one command: the network, what comes after it, and a training step.

Networks run from pixels (uint8) to raw answers, in eager mode, compiled, and as a replayed CUDA graph, in float32 and
bfloat16. Post-processing is that of files exported with `--nms`, by itself, whose shapes and so whose time do not
depend on what the network saw. A training step is matching, losses, backward, clipping and optimizer, on a batch that
lies ready on the device. Weights are random. Everything ends before the clock is read.

`python benchmarks/gpu.py --json gpu.json`; on any machine, to see that it runs:
`python benchmarks/gpu.py --device cpu --sizes 64 --batches 1 2 --ways eager --models blitznet300-lite --rounds 1`
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.models import DEFAULT, get_spec
from blitznet.core.spec import Spec
from blitznet.nets.blitznet import build
from blitznet.nets.deploy import Deployed
from blitznet.nets.postprocess import PostprocessModule
from blitznet.train.batch import collate
from blitznet.train.config import Precision
from blitznet.train.distributed import Group
from blitznet.train.optimizer import make_optimizer
from blitznet.train.recipes import lite
from blitznet.train.step import update
from losses import example
from report import say, write
from tables import Table, print_all

Way = Literal["eager", "compiled", "graph"]
Work = Callable[[], object]
_WARM = 3
"""runs before a graph is captured, which cuDNN needs to choose its algorithms"""


@dataclass(frozen=True)
class Options:
    """What is timed."""

    models: tuple[str, ...] = (DEFAULT, "blitznet300-s4", "blitznet512-s4")
    device: str = "cuda"
    batches: tuple[int, ...] = (1, 32, 128)
    sizes: tuple[int, ...] = ()
    """sides of the images; none: the model's own"""
    ways: tuple[Way, ...] = ("eager", "compiled", "graph")
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    rounds: int = 20
    """of which the median counts; some more are run first to warm up"""
    json: Path | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One timing; None where there was not enough memory."""

    model: str
    size: int
    what: str
    way: str
    precision: str
    batch: int
    milliseconds: float | None
    images_per_second: float | None
    memory: float | None
    """MB the device held at most; None on a CPU"""


def main(options: Options) -> None:
    """Measure, print, write."""
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("skipped: there is no GPU here (--device cpu shows that the command runs)")
        return
    rows = [row for model in options.models for spec in specs(model, options) for row in measure(spec, options, device)]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    tables = [table(rows, name)]
    print_all(tables, ())
    write(options.json, options, device=name, rows=rows, tables=tables)


def specs(model: str, options: Options) -> list[Spec]:
    """The model's contract at every size."""
    spec = get_spec(model)
    return [replace(spec, size=(side, side)) for side in options.sizes] or [spec]


def measure(spec: Spec, options: Options, device: torch.device) -> Iterator[Row]:
    """All rows of one model at one size."""
    for batch in options.batches:
        for precision in options.precisions:
            for way in options.ways:
                work = partial(network, spec, batch, precision, way, device)
                yield row(spec, "network", way, precision, batch, work, options, device)
            if batch > 1:  # batch norm wants more than one value
                work = partial(step, spec, batch, precision, device)
                yield row(spec, "training step", "eager", precision, batch, work, options, device)
        for way in options.ways:
            if "detection" in spec.tasks:
                work = partial(finishing, spec, batch, way, device)
                yield row(spec, "post-processing", way, "float32", batch, work, options, device)


def row(
    spec: Spec,
    what: str,
    way: str,
    precision: str,
    batch: int,
    make: Callable[[], Work],
    options: Options,
    device: torch.device,
) -> Row:
    """Make the work, warm up, time it."""
    say(f"{spec.name} {spec.size[0]}: {what}, {way}, {precision}, batch {batch}")
    found: tuple[float, float | None] | None = None
    try:
        if way != "graph" or device.type == "cuda":
            found = timed(make(), options.rounds, device)
    except torch.OutOfMemoryError:
        say("not enough memory")
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    milliseconds, memory = found or (None, None)
    rate = None if milliseconds is None else 1e3 * batch / milliseconds
    return Row(spec.name, spec.size[0], what, way, precision, batch, milliseconds, rate, memory)


def timed(work: Work, rounds: int, device: torch.device) -> tuple[float, float | None]:
    """Median milliseconds, and MB held at most while it was timed."""
    for _ in range(_WARM if device.type == "cuda" else 1):
        work()
    finish(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        finish(device)
        times.append(1e3 * (time.perf_counter() - begun))
    memory = torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None
    return statistics.median(times), memory


def finish(device: torch.device) -> None:
    """Wait until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def network(spec: Spec, batch: int, precision: Precision, way: Way, device: torch.device) -> Work:
    """The network from pixels to raw answers."""
    net = build(spec).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub
    images = torch.randint(0, 256, (batch, *spec.size, 3), dtype=torch.uint8, device=device)
    return in_this_way(Deployed(net, spec).to(device).eval(), (images,), precision, way)


def finishing(spec: Spec, batch: int, way: Way, device: torch.device) -> Work:
    """What comes after the network, on random answers."""
    anchors = len(generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, spec.size)))
    grid = [-(-side // spec.network.segmentation_stride) for side in spec.size]
    shapes = [(batch, anchors, 4), (batch, anchors, spec.num_channels), (batch, spec.num_channels, *grid)]
    answers = tuple(torch.randn(shape, device=device) for shape in shapes)
    given = answers if "segmentation" in spec.tasks else answers[:2]
    return in_this_way(PostprocessModule(spec).to(device).eval(), given, "float32", way)


def in_this_way(module: nn.Module, given: tuple[Tensor, ...], precision: Precision, way: Way) -> Work:
    """The module, ready to be run again and again on what it is given."""
    device = given[0].device
    called = torch.compile(module) if way == "compiled" else module

    def run() -> object:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            return called(*given)

    return captured(run) if way == "graph" else run


def captured(run: Work) -> Work:
    """The same as a CUDA graph."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call] # torch's has no types
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = run()

    def replay() -> object:
        graph.replay()
        return kept  # the graph writes into it

    return replay


def step(spec: Spec, batch: int, precision: Precision, device: torch.device) -> Work:
    """A training step on a batch that lies ready."""
    config = replace(lite(), precision=precision)
    net = build(spec).train()
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub
    optimizer = make_optimizer(net, config)
    rng = np.random.default_rng(0)
    examples = collate([example(spec, rng, partly=False) for _ in range(batch)]).to(device)
    anchors = torch.from_numpy(generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, spec.size)).copy()).to(
        device
    )
    group = Group(0, 1, device)
    return partial(update, net, [examples], optimizer, anchors=anchors, spec=spec, config=config, group=group)


def table(rows: list[Row], device: str) -> Table:
    """All of them."""
    cells = [
        (
            f"{one.model} {one.size}",
            one.what,
            one.way,
            one.precision,
            str(one.batch),
            *("-" if value is None else f"{value:.{digits}f}" for value, digits in numbers(one)),
        )
        for one in rows
    ]
    columns = ("model", "what", "way", "precision", "batch", "milliseconds", "images/s", "MB")
    return Table(f"on {device}", columns, cells)


def numbers(one: Row) -> tuple[tuple[float | None, int], ...]:
    """Figures and their digits."""
    return (one.milliseconds, 2), (one.images_per_second, 1), (one.memory, 0)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
