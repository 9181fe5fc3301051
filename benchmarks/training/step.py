"""Time of a training step, data included, against forward and backward pass of the network alone.

Training uses the recipe `lite`: worker processes read and augment the images; the step is matching, losses, gradient
clipping, optimizer and EMA. Alone is the network on one prepared batch with prepared gradients. Both are interleaved in
blocks. Workers are started for each training block, whose first steps are not measured, and stopped at its end, so
they do not slow down the other blocks. The network alone is timed in both precisions.

`python -m benchmarks.training.step --json step.json`
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
import tyro

from benchmarks._lib.results import Table, at_most, print_results, require_images, write_json
from benchmarks._lib.training import TrainingOptions
from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.nets.deploy import normalize
from blitznet.train.batch import Batch
from blitznet.train.config import TrainPrecision
from blitznet.train.datasets import open_all, prepare_data
from blitznet.train.distributed import ProcessGroup
from blitznet.train.ema import ModelEma
from blitznet.train.initialize import make_network
from blitznet.train.optimizer import make_optimizer
from blitznet.train.recipes import lite_config
from blitznet.train.schedule import ema_decay
from blitznet.train.step import update
from blitznet.train.trainer import make_batches

MAX_RATIO = 1.25
"""goal: time of a training step as a multiple of the network's alone"""
PRECISIONS: tuple[TrainPrecision, ...] = ("float32", "bfloat16")


@dataclass(frozen=True)
class Options(TrainingOptions):
    """Options of the benchmark."""

    batch: int = 16
    steps: int = 6
    """Measured steps of a block. Default: 6."""
    warmup: int = 2
    """Steps at the start of a block that are not measured. Default: 2."""
    rounds: int = 5
    """Blocks of each kind, of which the median is reported. Default: 5."""
    precision: TrainPrecision = lite_config().precision
    """Precision of training. Default: that of the recipe."""
    workers: int = lite_config().workers


@dataclass(frozen=True)
class Row:
    """One kind of step."""

    name: str
    precision: str
    milliseconds: float
    """median over the blocks of a block's mean"""
    blocks: tuple[float, ...]


class StepTimer:
    """A network and what its training step needs."""

    def __init__(self, options: Options) -> None:
        self.options = options
        config = replace(
            lite_config(), root=options.root, batch=options.batch, workers=options.workers, seed=options.seed
        )
        self.config = replace(config, precision=options.precision)
        net, self.spec = make_network(self.config, ())
        self.net = net.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub
        self.ema, self.optimizer = ModelEma(self.net), make_optimizer(self.net, self.config)
        self.group = ProcessGroup(0, 1, torch.device("cpu"))
        anchors = generate_anchors(self.spec.anchors, feature_map_sizes(self.spec.anchors, self.spec.size))
        self.anchors = torch.from_numpy(anchors.copy())
        opened = open_all(self.config.resolve_root(self.config.data))
        self.data = prepare_data(opened, (), self.spec.classes, self.config)

    def batches(self, *, workers: int) -> Iterator[Batch]:
        """Training batches from the first one on."""
        config = replace(self.config, workers=workers)
        return make_batches(self.data.training, self.data.sampler, self.spec, config)

    def time_training(self) -> float:
        """Milliseconds per step of a training block."""
        batches = self.batches(workers=self.options.workers)

        def step() -> None:
            update(
                self.net,
                [next(batches)],
                self.optimizer,
                anchors=self.anchors,
                spec=self.spec,
                config=self.config,
                group=self.group,
            )
            assert self.config.ema is not None
            self.ema.update(self.net, ema_decay(self.config.ema, self.config.steps))

        return self.time_block(step)

    def time_network(self, images: torch.Tensor, precision: TrainPrecision) -> float:
        """Milliseconds per step of a block of forward and backward passes."""

        def step() -> None:
            self.net.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                heads = self.net(images)
            outputs = [heads.offsets, heads.logits, heads.segmentation_logits]
            torch.autograd.backward(outputs, [torch.full_like(output, 1e-6) for output in outputs])

        return self.time_block(step)

    def time_block(self, step: Callable[[], None]) -> float:
        """Milliseconds per step, after warm-up."""
        for _ in range(self.options.warmup):
            step()
        start = time.perf_counter()
        for _ in range(self.options.steps):
            step()
        return 1e3 * (time.perf_counter() - start) / self.options.steps


def measure(options: Options) -> list[Row]:
    """All kinds of blocks, interleaved."""
    timer = StepTimer(options)
    images = normalize(next(timer.batches(workers=0)).images, timer.spec)
    blocks: dict[tuple[str, str], list[float]] = {}
    for _ in range(options.rounds):
        blocks.setdefault(("training, data included", options.precision), []).append(timer.time_training())
        for precision in PRECISIONS:
            milliseconds = timer.time_network(images, precision)
            blocks.setdefault(("forward and backward alone", precision), []).append(milliseconds)
    return [Row(*key, statistics.median(times), tuple(times)) for key, times in blocks.items()]


def main(options: Options) -> None:
    """Measure, print and write."""
    require_images(options.root)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    rows = measure(options)
    by_precision = {row.precision: row.milliseconds for row in rows[1:]}
    ratio = rows[0].milliseconds / by_precision[options.precision]
    fastest = min(by_precision, key=lambda precision: by_precision[precision])
    cells = [
        (row.name, row.precision, f"{row.milliseconds:.0f}", f"{1e3 * options.batch / row.milliseconds:.1f}")
        for row in rows
    ]
    speedup = max(by_precision.values()) / min(by_precision.values())
    note = f"the faster precision is {fastest}, {speedup:.2f} times as fast"
    columns = ("step", "precision", "milliseconds", "images/s")
    table = Table(f"a step of {options.batch} images", columns, cells, (note,))
    goals = [at_most("a training step, against the network alone", ratio, MAX_RATIO, " times")]
    print_results([table], goals)
    write_json(options.json, options, rows=rows, fastest=fastest, tables=[table], goals=goals)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
