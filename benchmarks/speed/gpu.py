"""All timings on a GPU in one command: the network, postprocessing, and a training step.

Networks run from pixels (uint8) to raw outputs, in eager mode, compiled, and as a replayed CUDA graph, in float32 and
bfloat16. Postprocessing is that of files exported with `--nms`, alone; its shapes, and so its time, do not depend on
the input. A training step is matching, losses, backward, clipping and optimizer on a batch that is on the device.
Weights are random. The device is synchronized before the clock is read.

`python -m benchmarks.speed.gpu --json gpu.json`; on any machine, to try the command:
`python -m benchmarks.speed.gpu --device cpu --sizes 64 --batches 1 2 --modes eager --models blitznet300-lite`
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

from benchmarks._lib.results import Table, notify, print_results, write_json
from benchmarks.training.losses import random_sample
from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.models import DEFAULT, get_spec
from blitznet.core.spec import Spec
from blitznet.nets.blitznet import build
from blitznet.nets.deploy import Deployed
from blitznet.nets.postprocess import PostprocessModule
from blitznet.train.batch import collate
from blitznet.train.config import TrainPrecision
from blitznet.train.distributed import ProcessGroup
from blitznet.train.optimizer import make_optimizer
from blitznet.train.recipes import lite_config
from blitznet.train.step import update

Mode = Literal["eager", "compiled", "graph"]
Work = Callable[[], object]
_WARMUP = 3
"""runs before a graph is captured, in which cuDNN chooses its algorithms"""


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    models: tuple[str, ...] = (DEFAULT, "blitznet300-s4", "blitznet512-s4")
    device: str = "cuda"
    """cuda or cpu. Default: cuda."""
    batches: tuple[int, ...] = (1, 32, 128)
    sizes: tuple[int, ...] = ()
    """Input sizes in pixels. Default: the model's."""
    modes: tuple[Mode, ...] = ("eager", "compiled", "graph")
    precisions: tuple[TrainPrecision, ...] = ("float32", "bfloat16")
    rounds: int = 20
    """Runs, of which the median is reported, after some runs of warm-up. Default: 20."""
    json: Path | None = None
    """Write the results to this file."""


@dataclass(frozen=True, slots=True)
class Row:
    """One timing; None if there was not enough memory."""

    model: str
    size: int
    work: str
    mode: str
    precision: str
    batch: int
    milliseconds: float | None
    images_per_second: float | None
    memory: float | None
    """peak memory of the device, MB; None on a CPU"""


def main(options: Options) -> None:
    """Measure, print and write."""
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("skipped: this machine has no GPU; try the command with --device cpu")
        return
    rows = [row for model in options.models for spec in specs(model, options) for row in measure(spec, options, device)]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    tables = [report_table(rows, name)]
    print_results(tables)
    write_json(options.json, options, device=name, rows=rows, tables=tables)


def specs(model: str, options: Options) -> list[Spec]:
    """The model's spec at every input size."""
    spec = get_spec(model)
    return [replace(spec, size=(size, size)) for size in options.sizes] or [spec]


def measure(spec: Spec, options: Options, device: torch.device) -> Iterator[Row]:
    """All rows of one model at one size."""
    for batch in options.batches:
        for precision in options.precisions:
            for mode in options.modes:
                work = partial(network, spec, batch, precision, mode, device)
                yield measure_row(spec, "network", mode, precision, batch, work, options, device)
            if batch > 1:  # batch norm needs several values
                work = partial(training_step, spec, batch, precision, device)
                yield measure_row(spec, "training step", "eager", precision, batch, work, options, device)
        for mode in options.modes:
            if "detection" in spec.tasks:
                work = partial(postprocessing, spec, batch, mode, device)
                yield measure_row(spec, "postprocessing", mode, "float32", batch, work, options, device)


def measure_row(
    spec: Spec,
    name: str,
    mode: str,
    precision: str,
    batch: int,
    make_work: Callable[[], Work],
    options: Options,
    device: torch.device,
) -> Row:
    """Make the work, warm up and time it."""
    notify(f"{spec.name} {spec.size[0]}: {name}, {mode}, {precision}, batch {batch}")
    result: tuple[float, float | None] | None = None
    try:
        if mode != "graph" or device.type == "cuda":
            result = time_work(make_work(), options.rounds, device)
    except torch.OutOfMemoryError:
        notify("not enough memory")
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    milliseconds, memory = result or (None, None)
    rate = None if milliseconds is None else 1e3 * batch / milliseconds
    return Row(spec.name, spec.size[0], name, mode, precision, batch, milliseconds, rate, memory)


def time_work(work: Work, rounds: int, device: torch.device) -> tuple[float, float | None]:
    """Median milliseconds, and the device's peak memory in MB."""
    for _ in range(_WARMUP if device.type == "cuda" else 1):
        work()
    synchronize(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        synchronize(device)
        times.append(1e3 * (time.perf_counter() - start))
    memory = torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None
    return statistics.median(times), memory


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def network(spec: Spec, batch: int, precision: TrainPrecision, mode: Mode, device: torch.device) -> Work:
    """The network from pixels to raw outputs."""
    net = build(spec).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub
    images = torch.randint(0, 256, (batch, *spec.size, 3), dtype=torch.uint8, device=device)
    return in_mode(Deployed(net, spec).to(device).eval(), (images,), precision, mode)


def postprocessing(spec: Spec, batch: int, mode: Mode, device: torch.device) -> Work:
    """Postprocessing of random outputs."""
    anchors = len(generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, spec.size)))
    map_size = [-(-edge // spec.network.segmentation_stride) for edge in spec.size]
    shapes = [(batch, anchors, 4), (batch, anchors, spec.num_channels), (batch, spec.num_channels, *map_size)]
    outputs = tuple(torch.randn(shape, device=device) for shape in shapes)
    inputs = outputs if "segmentation" in spec.tasks else outputs[:2]
    return in_mode(PostprocessModule(spec).to(device).eval(), inputs, "float32", mode)


def in_mode(module: nn.Module, inputs: tuple[Tensor, ...], precision: TrainPrecision, mode: Mode) -> Work:
    """A function that runs the module on its inputs in this mode."""
    device = inputs[0].device
    called = torch.compile(module) if mode == "compiled" else module

    def run() -> object:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            return called(*inputs)

    return capture_graph(run) if mode == "graph" else run


def capture_graph(run: Work) -> Work:
    """The same work as a CUDA graph."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call] # torch has no types for it
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARMUP):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = run()

    def replay() -> object:
        graph.replay()
        return outputs  # the graph writes into them

    return replay


def training_step(spec: Spec, batch: int, precision: TrainPrecision, device: torch.device) -> Work:
    """A training step on a prepared batch."""
    config = replace(lite_config(), precision=precision)
    net = build(spec).train()
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub
    optimizer = make_optimizer(net, config)
    rng = np.random.default_rng(0)
    samples = collate([random_sample(spec, rng, partial=False) for _ in range(batch)]).to(device)
    anchors = generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, spec.size))
    return partial(
        update,
        net,
        [samples],
        optimizer,
        anchors=torch.from_numpy(anchors.copy()).to(device),
        spec=spec,
        config=config,
        group=ProcessGroup(0, 1, device),
    )


def report_table(rows: list[Row], device: str) -> Table:
    """All rows."""
    cells = [
        (
            f"{row.model} {row.size}",
            row.work,
            row.mode,
            row.precision,
            str(row.batch),
            *(
                "-" if value is None else f"{value:.{digits}f}"
                for value, digits in ((row.milliseconds, 2), (row.images_per_second, 1), (row.memory, 0))
            ),
        )
        for row in rows
    ]
    columns = ("model", "work", "mode", "precision", "batch", "milliseconds", "images/s", "MB")
    return Table(f"on {device}", columns, cells)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
