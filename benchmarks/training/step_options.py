"""A training step of the default model with each option that makes it faster, against the former architecture.

All configurations train in this process, in turns, round after round in alternating order. Each has its own loader
process. A turn begins with steps that are not measured, until the batches that the loader prepared meanwhile are used
up. The images are a part of the training sets, so that a cache is full after the first epochs, which are read before.

- former: the former default (`lite` with SSD heads and a detection prior), batch norms of encoder and downscale stream
  frozen and not folded
- default: the default as its pipeline trains it: frozen batch norms folded into the convolutions, one frozen stage
- no folding, no frozen stage, cache: the default with one option changed

The parts of a step are times within `Trainer.step`: waiting for data; matching and other work before the network;
forward pass; losses and backward pass; optimizer with EMA.

`python -m benchmarks.training.step_options --json step_options.json`
"""

import statistics
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields, replace
from itertools import islice
from types import MethodType
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from benchmarks._lib.results import Table, at_least, print_results, require_images, write_json
from benchmarks._lib.training import TrainingOptions
from blitznet.core.models import MODELS, blitznet300_lite, blitznet300_lite_plain
from blitznet.core.sample import Dataset
from blitznet.core.spec import Spec
from blitznet.data.sources import open_sources
from blitznet.nets.blitznet import build
from blitznet.nets.mobilenet import LiteConv
from blitznet.train.batch import Batch
from blitznet.train.config import TrainConfig, TrainPrecision
from blitznet.train.distributed import ProcessGroup
from blitznet.train.recipes import VOC07, VOC12, lite_config
from blitznet.train.sampler import EpochSampler
from blitznet.train.trainer import Trainer, make_batches, make_trainer

MIN_SPEEDUP = 1.3
"""goal: images per second of the default with its options, as a multiple of the former architecture's"""
SETS = (f"{VOC12}@train", f"{VOC07}@trainval")
PREFETCHED = 4
"""batches that a loader process prepares"""


@dataclass(frozen=True)
class Options(TrainingOptions):
    """Options of the benchmark."""

    batch: int = 16
    steps: int = 6
    """Measured steps of a turn. Default: 6."""
    rounds: int = 5
    """Turns of each configuration, of which the median is reported. Default: 5."""
    images: int = 320
    """Images of each epoch, evenly spaced in the training sets. Default: 320."""
    precision: TrainPrecision = "bfloat16"
    """Precision of the forward and backward pass. Default: bfloat16."""
    workers: int = 1
    """Loader processes of each configuration. Default: 1."""
    cache_epochs: int = 2
    """Epochs that are read before the first turn where images are cached. Default: 2."""


@dataclass(frozen=True)
class Configuration:
    """A network, and how it is trained."""

    spec: Spec
    changes: dict[str, Any]
    """fields of TrainConfig"""
    is_folded: bool = True
    """whether frozen batch norms are folded into the convolutions"""


@dataclass(frozen=True)
class Parts:
    """Milliseconds of the parts of a step."""

    data: float
    matching: float
    forward: float
    backward: float
    """losses and backward pass"""
    optimizer: float
    """with EMA"""

    @property
    def total(self) -> float:
        """Milliseconds of the step."""
        return float(sum(astuple(self)))


@dataclass(frozen=True)
class Row:
    """One configuration."""

    name: str
    parts: Parts
    """mean of each part in the turn with the median total"""
    images_per_second: float
    turns: tuple[float, ...]
    """milliseconds per step of each turn"""


def former_spec() -> Spec:
    """The spec of the former default model."""
    base, anchors = blitznet300_lite_plain(), blitznet300_lite().anchors
    network = replace(base.network, extra_levels=4, ssd_head=True, ssd_box_head=True, detection_prior=True)
    return replace(base, name="former", anchors=anchors, network=network)


def configurations() -> dict[str, Configuration]:
    """All configurations by name; the first one is what the others are compared with."""
    spec, frozen = blitznet300_lite(), {"freeze_bn": ("encoder", "downscale")}
    default = frozen | {"frozen_stages": 1}
    return {
        "former": Configuration(former_spec(), frozen, is_folded=False),
        "default": Configuration(spec, default),
        "no folding": Configuration(spec, default, is_folded=False),
        "no frozen stage": Configuration(spec, frozen),
        "cache": Configuration(spec, default | {"cache": "ram"}),
    }


def evenly_spaced(datasets: list[Dataset], count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """(N, 2) dataset and index of `count` images at equal distances in all sets."""
    rows = [(number, index) for number, dataset in enumerate(datasets) for index in range(len(dataset))]
    chosen = np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)
    return np.asarray([rows[row] for row in chosen], np.int64)


def use_unfolded_norms(net: nn.Module) -> None:
    """Compute convolution and batch norm one after the other in every layer, as if nothing were folded."""

    def forward(layer: LiteConv, x: Tensor) -> Tensor:
        out: Tensor = layer.activation(layer.norm(layer.conv(x)))
        return out

    for layer in net.modules():
        if isinstance(layer, LiteConv):
            layer.forward = MethodType(forward, layer)  # type: ignore[method-assign] # to compare


class StepTimer:
    """Trains one configuration and times the parts of its steps."""

    def __init__(self, configuration: Configuration, datasets: list[Dataset], options: Options) -> None:
        self.options, spec = options, configuration.spec
        config = replace(
            lite_config(),
            batch=options.batch,
            precision=options.precision,
            workers=options.workers,
            seed=options.seed,
            steps=10**6,
            **configuration.changes,
        )
        torch.manual_seed(options.seed)
        group = ProcessGroup(0, 1, torch.device("cpu"))
        self.trainer: Trainer = make_trainer(build(spec), spec, config, group)
        if not configuration.is_folded:
            use_unfolded_norms(self.trainer.net)
        entries = evenly_spaced(datasets, options.images)
        sampler = EpochSampler(entries, np.ones(len(entries)), options.seed)
        self.batches: Iterator[Batch] = make_batches(datasets, sampler, spec, config)
        if config.cache != "none":
            for _ in islice(self.batches, options.cache_epochs * len(entries) // options.batch):
                pass
        self.step = 0
        self.marks: list[float] = []
        self._add_hooks()

    def _add_hooks(self) -> None:
        """Note the time at the start and the end of the forward pass, and before the optimizer."""

        def mark(*_: object) -> None:
            self.marks.append(time.perf_counter())

        self.trainer.model.register_forward_pre_hook(mark)
        self.trainer.model.register_forward_hook(mark)
        self.trainer.optimizer.register_step_pre_hook(mark)

    def run_step(self) -> Parts:
        """One step and its parts."""
        self.step += 1
        self.marks.clear()
        start = time.perf_counter()
        _, timings = self.trainer.step(self.batches, self.step)
        end = time.perf_counter()
        forward, backward, optimizer = self.marks
        data = timings["data_time"]
        seconds = data, forward - start - data, backward - forward, optimizer - backward, end - optimizer
        return Parts(*(1e3 * value for value in seconds))

    def run_turn(self) -> Parts:
        """The mean parts of a turn's steps, after those whose batches were prepared before the turn."""
        for _ in range(PREFETCHED * self.options.workers + 1):
            self.run_step()
        steps = [astuple(self.run_step()) for _ in range(self.options.steps)]
        return Parts(*(statistics.fmean(column) for column in zip(*steps, strict=True)))


def measure(options: Options, chosen: dict[str, Configuration], datasets: list[Dataset]) -> list[Row]:
    """All configurations, in turns."""
    timers = {name: StepTimer(configuration, datasets, options) for name, configuration in chosen.items()}
    turns: dict[str, list[Parts]] = {name: [] for name in timers}
    for number in range(options.rounds):
        names = list(timers) if number % 2 == 0 else list(reversed(timers))
        for name in names:
            turns[name].append(timers[name].run_turn())
    return [make_row(name, parts, options.batch) for name, parts in turns.items()]


def make_row(name: str, turns: list[Parts], batch: int) -> Row:
    """The turn with the median total."""
    median = sorted(turns, key=lambda parts: parts.total)[len(turns) // 2]
    return Row(name, median, 1e3 * batch / median.total, tuple(parts.total for parts in turns))


def make_table(rows: list[Row], options: Options) -> Table:
    """One line for each configuration; the speed also as a multiple of the first one's."""
    cells = [
        (
            row.name,
            *(f"{value:.0f}" for value in (*astuple(row.parts), row.parts.total)),
            f"{row.images_per_second:.1f}",
            f"{row.images_per_second / rows[0].images_per_second:.2f}",
        )
        for row in rows
    ]
    names = [field.name for field in fields(Parts)]
    columns = ("configuration", *(f"{name}, ms" for name in (*names, "total")), "images/s", "of former")
    return Table(f"a training step of {options.batch} images in {options.precision}", columns, cells)


def main(options: Options) -> None:
    """Measure, print and write."""
    require_images(options.root)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    texts = TrainConfig(root=options.root).resolve_root(SETS)
    datasets: list[Dataset] = list(open_sources(texts, MODELS["blitznet300-lite"]().classes))
    rows = measure(options, configurations(), datasets)
    table = make_table(rows, options)
    best = max(row.images_per_second for row in rows[1:])
    goals = [
        at_least("images/s of the default, of the former", best / rows[0].images_per_second, MIN_SPEEDUP, " times")
    ]
    print_results([table], goals)
    write_json(options.json, options, rows=rows, tables=[table], goals=goals)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
