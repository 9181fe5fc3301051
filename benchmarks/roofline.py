"""How much of what this machine can multiply our networks use, and what one network for both tasks saves.

In one run, taking turns, each in a process of its own: the peak of matrix products (torch in bfloat16 and float32,
OpenVINO in bfloat16; the largest counts); each network by OpenVINO in bfloat16; the same network as one for boxes
and one for class maps, one after the other; and at twice the side. Weights are random: time does not see them.

`python benchmarks/roofline.py --json roofline.json`
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import tyro

from blitznet.bench.interleaved import Job, run_interleaved
from blitznet.bench.timing import Latency, latency, timed
from blitznet.core.models import DEFAULT, get_spec
from blitznet.core.spec import Spec
from blitznet.runtime.threads import available_threads
from tables import Table, Verdict, at_least, at_most, print_all

HEAVY = "blitznet300-s4"
SHARE, JOINT = 0.60, 0.65
"""of the peak, that the heavy network shall reach; of the separate networks' time, that a joint one may take"""
Turn = list[float]
"""milliseconds of each repetition"""


@dataclass(frozen=True)
class Options:
    """What is timed."""

    models: tuple[str, ...] = (DEFAULT, HEAVY)
    rounds: int = 10
    """of which one more is run first to warm up"""
    repeats: int = 5
    """in a round"""
    side: int = 2048
    """of the matrices"""
    threads: int = available_threads()
    json: Path | None = None


@dataclass(frozen=True, slots=True)
class Peak:
    """Matrix products of one library in one precision."""

    what: str
    milliseconds: Latency
    rate: float
    """1e12 multiply-adds a second"""


@dataclass(frozen=True, slots=True)
class Row:
    """One model."""

    model: str
    multiply_adds: float
    """1e9"""
    joint: Latency
    apart: Latency
    """the network for boxes and the network for class maps, one after the other"""
    large: Latency
    """at twice the side"""
    rate: float
    """1e12 multiply-adds a second"""
    share: float
    """of the peak"""
    of_apart: float
    """the joint network's time of the separate ones'"""
    growth: float
    """how many times longer the large image takes"""
    area: float
    """how many times as many pixels it has"""


def main(options: Options) -> None:
    """Measure, print, write."""
    from report import say, write

    specs = [contract(get_spec(model)) for model in options.models]
    with TemporaryDirectory() as folder:
        say("files")
        networks = [networks_of(spec, Path(folder), options) for spec in specs]
        say("turns")
        peaks, rows = measure(specs, networks, options)
    tables, verdicts = report_tables(peaks, rows, options), judge(rows)
    print_all(tables, verdicts)
    engines = {"openvino": version("openvino")}
    write(options.json, options, engines=engines, peaks=peaks, rows=rows, verdicts=verdicts, tables=tables)


def contract(spec: Spec) -> Spec:
    """The same in bfloat16."""
    return replace(spec, precision="bfloat16")


def grown(spec: Spec) -> Spec:
    """The same at twice the side."""
    return replace(spec, size=(2 * spec.size[0], 2 * spec.size[1]))


def networks_of(spec: Spec, folder: Path, options: Options) -> list[Job[Turn]]:
    """What is timed of a model: the joint network, both tasks apart, the joint network at twice the side."""
    from blitznet.export.onnx import export_onnx
    from blitznet.nets.blitznet import build

    kinds: dict[str, Spec] = {"joint": spec, "large": grown(spec)}
    kinds |= {task: replace(spec, tasks=(task,)) for task in spec.tasks}
    files: dict[str, Path] = {}
    for kind, one in kinds.items():
        files[kind] = folder / f"{spec.name}-{kind}.onnx"
        export_onnx(build(one), one, files[kind])
    apart = tuple(files[task] for task in spec.tasks)
    return [
        partial(open_networks, given, options.threads, options.repeats)
        for given in ((files["joint"],), apart, (files["large"],))
    ]


def measure(
    specs: Sequence[Spec], networks: Sequence[Sequence[Job[Turn]]], options: Options
) -> tuple[list[Peak], list[Row]]:
    """Everything in turn."""
    products: dict[str, Job[Turn]] = {
        f"torch, {kind}": partial(open_torch, kind, options.side, options.threads, options.repeats)
        for kind in ("bfloat16", "float32")
    }
    products["OpenVINO, bfloat16"] = partial(open_openvino, options.side, options.threads, options.repeats)
    jobs = [*products.values(), *(job for given in networks for job in given)]
    found = [latency([time for turn in turns for time in turn]) for turns in run_interleaved(jobs, options.rounds)]
    work = options.side**3 / 1e9
    peaks = [Peak(what, time, work / time.median) for what, time in zip(products, found, strict=False)]
    best, rest = max(peak.rate for peak in peaks), iter(found[len(peaks) :])
    return peaks, [row(spec, next(rest), next(rest), next(rest), best) for spec in specs]


def row(spec: Spec, joint: Latency, apart: Latency, large: Latency, peak: float) -> Row:
    """What the times of a model come to."""
    count = multiply_adds(spec)
    rate = count / 1e9 / joint.median
    return Row(
        model=spec.name,
        multiply_adds=count / 1e9,
        joint=joint,
        apart=apart,
        large=large,
        rate=rate,
        share=rate / peak,
        of_apart=joint.median / apart.median,
        growth=large.median / joint.median,
        area=(grown(spec).size[0] * grown(spec).size[1]) / (spec.size[0] * spec.size[1]),
    )


def multiply_adds(spec: Spec) -> int:
    """Of the whole network for one image."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from blitznet.nets.blitznet import build

    with torch.device("meta"):
        net, images = build(spec).eval(), torch.empty(1, 3, *spec.size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(images)
    return int(counter.get_total_flops()) // 2  # it counts a multiplication and an addition as two


def judge(rows: Sequence[Row]) -> list[Verdict]:
    """What was promised."""
    verdicts = [
        at_least(f"{one.model}, share of the measured peak", one.share, SHARE) for one in rows if one.model == HEAVY
    ]
    for one in rows:
        verdicts.append(at_most(f"{one.model}, joint of separate networks' time", one.of_apart, JOINT))
        what = f"{one.model}, time at twice the side"
        verdicts.append(at_most(what, one.growth, one.area, " times"))
    return verdicts


def report_tables(peaks: Sequence[Peak], rows: Sequence[Row], options: Options) -> list[Table]:
    """Peaks, and networks beside them."""
    products = [(one.what, _ms(one.milliseconds), f"{one.rate:.3f}") for one in peaks]
    networks = [
        (
            one.model,
            f"{one.multiply_adds:.2f}",
            _ms(one.joint),
            f"{one.rate:.3f}",
            f"{100 * one.share:.0f} %",
            _ms(one.apart),
            f"{100 * one.of_apart:.0f} %",
            _ms(one.large),
            f"{one.growth:.2f}",
        )
        for one in rows
    ]
    columns = (
        "network",
        "1e9 mul-adds",
        "joint",
        "1e12/s",
        "of peak",
        "apart",
        "joint of it",
        "twice the side",
        "times",
    )
    note = f"milliseconds, median / 95th percentile; OpenVINO, bfloat16, batch 1, threads: {options.threads}"
    return [
        Table(
            f"products of {options.side} x {options.side} matrices", ("", "milliseconds", "1e12 mul-adds/s"), products
        ),
        Table("networks alone", columns, networks, (note,)),
    ]


def _ms(time: Latency) -> str:
    return f"{time.median:.2f} / {time.p95:.2f}"


def open_networks(files: Sequence[Path], threads: int, repeats: int) -> Callable[[], Turn]:
    """In its process: these networks by OpenVINO, one after the other on the same image."""
    import numpy as np

    from blitznet.api import open_engine

    engines = [open_engine(file, engine="openvino", threads=threads) for file in files]
    image = np.random.default_rng(0).integers(0, 256, (1, *engines[0].spec.size, 3), np.uint8)

    def once() -> None:
        for engine in engines:
            engine.run(image)

    return partial(_turn, once, repeats)


def open_torch(kind: str, side: int, threads: int, repeats: int) -> Callable[[], Turn]:
    """In its process: a matrix product by torch."""
    import torch

    torch.set_num_threads(threads)
    a, b = (torch.rand(side, side).to(getattr(torch, kind)) for _ in range(2))
    out = torch.empty_like(a)
    return partial(_turn, partial(torch.mm, a, b, out=out), repeats)


def open_openvino(side: int, threads: int, repeats: int) -> Callable[[], Turn]:
    """In its process: a matrix product by OpenVINO, which may lay out one side beforehand, as it does for networks."""
    import numpy as np

    from blitznet.runtime.openvino_engine import import_openvino, shared_core

    openvino = import_openvino()
    opset = openvino.opset13
    rng = np.random.default_rng(0)
    a, b = (rng.random((side, side), np.float32) for _ in range(2))
    given = opset.parameter([side, side], np.float32)
    model = openvino.Model([opset.matmul(given, opset.constant(b), False, False)], [given])
    options = {  # those of our own engine
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "bf16",
        "ENABLE_CPU_PINNING": False,
    }
    request = shared_core().compile_model(model, "CPU", options).create_infer_request()
    return partial(_turn, partial(request.infer, [a], share_inputs=True, share_outputs=True), repeats)


def _turn(work: Callable[[], object], repeats: int) -> Turn:
    return [timed(work)[1] for _ in range(repeats)]


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
