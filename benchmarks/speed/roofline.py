"""Utilization of this machine's peak compute, and the time that one network for both tasks saves.

Interleaved in one run, each in its own process: the peak rate of matrix products (torch in bfloat16 and float32,
OpenVINO in bfloat16; the highest is used); each network on OpenVINO in bfloat16; the same network as two, one for
each task, run one after the other; and the network at twice the input size. Weights are random, which does not change
the time.

`python -m benchmarks.speed.roofline --json roofline.json`
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import tyro

from benchmarks._lib.results import Goal, Table, at_least, at_most, notify, print_results, write_json
from blitznet.bench.interleaved import BenchTaskFactory, run_interleaved
from blitznet.bench.timing import Latency, latency, timed
from blitznet.core.models import DEFAULT, get_spec
from blitznet.core.spec import Spec
from blitznet.runtime.threads import available_threads

LARGE_MODEL = "blitznet300-s4"
PEAK_FRACTION = 0.60
"""goal for LARGE_MODEL: its rate as a fraction of the peak"""
JOINT_FRACTION = 0.65
"""goal: time of the joint network as a fraction of the two separate ones'"""
Times = list[float]
"""milliseconds of each repetition"""


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    models: tuple[str, ...] = (DEFAULT, LARGE_MODEL)
    rounds: int = 10
    """Rounds, after one round of warm-up. Default: 10."""
    repeats: int = 5
    """Repetitions in a round. Default: 5."""
    matrix_size: int = 2048
    """Rows and columns of the multiplied matrices. Default: 2048."""
    threads: int = available_threads()
    """Threads. Default: one per core."""
    json: Path | None = None


@dataclass(frozen=True, slots=True)
class Peak:
    """Matrix products of one library in one precision."""

    name: str
    milliseconds: Latency
    rate: float
    """1e12 multiply-adds per second"""


@dataclass(frozen=True, slots=True)
class Row:
    """Results of one model."""

    model: str
    multiply_adds: float
    """1e9"""
    joint: Latency
    separate: Latency
    """the network for boxes, then the network for class maps"""
    large: Latency
    """the joint network at twice the input size"""
    rate: float
    """1e12 multiply-adds per second"""
    peak_fraction: float
    """rate as a fraction of the peak"""
    joint_fraction: float
    """time of the joint network as a fraction of the separate ones'"""
    time_ratio: float
    """time at twice the input size, as a multiple"""
    area_ratio: float
    """pixels at twice the input size, as a multiple"""


def main(options: Options) -> None:
    """Measure, print and write."""
    specs = [in_bfloat16(get_spec(model)) for model in options.models]
    with TemporaryDirectory() as folder:
        notify("exporting")
        networks = [networks_of(spec, Path(folder), options) for spec in specs]
        notify("measuring")
        peaks, rows = measure(specs, networks, options)
    tables, goals = report_tables(peaks, rows, options), goals_of(rows)
    print_results(tables, goals)
    engines = {"openvino": version("openvino")}
    write_json(options.json, options, engines=engines, peaks=peaks, rows=rows, goals=goals, tables=tables)


def in_bfloat16(spec: Spec) -> Spec:
    """The spec in bfloat16."""
    return replace(spec, precision="bfloat16")


def at_twice_the_size(spec: Spec) -> Spec:
    """The spec with twice the input size."""
    return replace(spec, size=(2 * spec.size[0], 2 * spec.size[1]))


def networks_of(spec: Spec, folder: Path, options: Options) -> list[BenchTaskFactory[Times]]:
    """Jobs of a model: the joint network, the two separate ones, the joint network at twice the input size."""
    from blitznet.export.onnx import to_onnx, write_onnx
    from blitznet.nets.blitznet import build

    kinds: dict[str, Spec] = {"joint": spec, "large": at_twice_the_size(spec)}
    kinds |= {task: replace(spec, tasks=(task,)) for task in spec.tasks}
    files: dict[str, Path] = {}
    for kind, kind_spec in kinds.items():
        files[kind] = folder / f"{spec.name}-{kind}.onnx"
        write_onnx(to_onnx(build(kind_spec), kind_spec), kind_spec, files[kind])
    separate = tuple(files[task] for task in spec.tasks)
    return [
        partial(open_networks, paths, options.threads, options.repeats)
        for paths in ((files["joint"],), separate, (files["large"],))
    ]


def measure(
    specs: Sequence[Spec], networks: Sequence[Sequence[BenchTaskFactory[Times]]], options: Options
) -> tuple[list[Peak], list[Row]]:
    """All peaks and all models, interleaved."""
    products: dict[str, BenchTaskFactory[Times]] = {
        f"torch, {kind}": partial(open_torch, kind, options.matrix_size, options.threads, options.repeats)
        for kind in ("bfloat16", "float32")
    }
    products["OpenVINO, bfloat16"] = partial(open_openvino, options.matrix_size, options.threads, options.repeats)
    jobs = [*products.values(), *(job for model_jobs in networks for job in model_jobs)]
    results = run_interleaved(jobs, options.rounds)
    latencies = [latency([time for times in rounds for time in times]) for rounds in results]
    work = options.matrix_size**3 / 1e9
    peaks = [Peak(name, time, work / time.median) for name, time in zip(products, latencies, strict=False)]
    best, rest = max(peak.rate for peak in peaks), iter(latencies[len(peaks) :])
    return peaks, [row(spec, next(rest), next(rest), next(rest), best) for spec in specs]


def row(spec: Spec, joint: Latency, separate: Latency, large: Latency, peak: float) -> Row:
    """The results of a model from its times and the peak rate."""
    count = multiply_adds(spec)
    rate = count / 1e9 / joint.median
    return Row(
        model=spec.name,
        multiply_adds=count / 1e9,
        joint=joint,
        separate=separate,
        large=large,
        rate=rate,
        peak_fraction=rate / peak,
        joint_fraction=joint.median / separate.median,
        time_ratio=large.median / joint.median,
        area_ratio=(at_twice_the_size(spec).size[0] * at_twice_the_size(spec).size[1]) / (spec.size[0] * spec.size[1]),
    )


def multiply_adds(spec: Spec) -> int:
    """Multiply-adds of the network for one image."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from blitznet.nets.blitznet import build

    with torch.device("meta"):
        net, images = build(spec).eval(), torch.empty(1, 3, *spec.size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(images)
    return int(counter.get_total_flops()) // 2  # a multiply-add counts as two operations


def goals_of(rows: Sequence[Row]) -> list[Goal]:
    """The goals of the benchmark."""
    goals = [
        at_least(f"{result.model}, fraction of the measured peak", result.peak_fraction, PEAK_FRACTION)
        for result in rows
        if result.model == LARGE_MODEL
    ]
    for result in rows:
        name = f"{result.model}, time of the joint network as a fraction of the separate ones'"
        goals.append(at_most(name, result.joint_fraction, JOINT_FRACTION))
        name = f"{result.model}, time at twice the input size"
        goals.append(at_most(name, result.time_ratio, result.area_ratio, " times"))
    return goals


def report_tables(peaks: Sequence[Peak], rows: Sequence[Row], options: Options) -> list[Table]:
    """A table of the peaks and one of the networks."""
    products = [(peak.name, _ms(peak.milliseconds), f"{peak.rate:.3f}") for peak in peaks]
    networks = [
        (
            result.model,
            f"{result.multiply_adds:.2f}",
            _ms(result.joint),
            f"{result.rate:.3f}",
            f"{100 * result.peak_fraction:.0f} %",
            _ms(result.separate),
            f"{100 * result.joint_fraction:.0f} %",
            _ms(result.large),
            f"{result.time_ratio:.2f}",
        )
        for result in rows
    ]
    columns = (
        "network",
        "1e9 mul-adds",
        "joint",
        "1e12/s",
        "of peak",
        "two networks",
        "joint of two",
        "twice the size",
        "times",
    )
    note = f"milliseconds, median / 95th percentile; OpenVINO, bfloat16, batch 1, threads: {options.threads}"
    return [
        Table(
            f"products of {options.matrix_size} x {options.matrix_size} matrices",
            ("", "milliseconds", "1e12 mul-adds/s"),
            products,
        ),
        Table("networks", columns, networks, (note,)),
    ]


def _ms(time: Latency) -> str:
    return f"{time.median:.2f} / {time.p95:.2f}"


def open_networks(files: Sequence[Path], threads: int, repeats: int) -> Callable[[], Times]:
    """Job: networks on OpenVINO, one after the other on the same image."""
    import numpy as np

    from blitznet.api import open_engine

    engines = [open_engine(file, engine="openvino", threads=threads) for file in files]
    image = np.random.default_rng(0).integers(0, 256, (1, *engines[0].spec.size, 3), np.uint8)

    def run() -> None:
        for engine in engines:
            engine.run(image)

    return partial(_times, run, repeats)


def open_torch(dtype: str, size: int, threads: int, repeats: int) -> Callable[[], Times]:
    """Job: a matrix product by torch."""
    import torch

    torch.set_num_threads(threads)
    a, b = (torch.rand(size, size).to(getattr(torch, dtype)) for _ in range(2))
    out = torch.empty_like(a)
    return partial(_times, partial(torch.mm, a, b, out=out), repeats)


def open_openvino(size: int, threads: int, repeats: int) -> Callable[[], Times]:
    """Job: a matrix product by OpenVINO, with one constant factor that it may repack, as it does with kernels."""
    import numpy as np

    from blitznet.runtime.openvino_engine import import_openvino, shared_core

    openvino = import_openvino()
    opset = openvino.opset13
    rng = np.random.default_rng(0)
    a, b = (rng.random((size, size), np.float32) for _ in range(2))
    factor = opset.parameter([size, size], np.float32)
    model = openvino.Model([opset.matmul(factor, opset.constant(b), False, False)], [factor])
    options = {  # as in runtime/openvino_engine.py
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "bf16",
        "ENABLE_CPU_PINNING": False,
    }
    request = shared_core().compile_model(model, "CPU", options).create_infer_request()
    return partial(_times, partial(request.infer, [a], share_inputs=True, share_outputs=True), repeats)


def _times(work: Callable[[], object], repeats: int) -> Times:
    return [timed(work)[1] for _ in range(repeats)]


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
