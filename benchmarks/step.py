"""A whole training step of the default model, data included, against its network's forward and backward alone.

Training is what the shipped model's recipe does: images read and augmented by worker processes beside the
step, matching, losses, clipping, optimizer, average. Alone is the network on one batch that lies ready, with
gradients that lie ready. Both take turns in blocks. Workers begin anew in each training block, whose first
steps are not counted, and are gone before the other blocks: what they do is paid for where it is timed. The
network alone is timed in both precisions, by which the recipe's was chosen.

`python benchmarks/step.py --json step.json`
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.nets.deploy import normalize
from blitznet.train.batch import Batch
from blitznet.train.config import Precision
from blitznet.train.datasets import map_sets, open_all
from blitznet.train.distributed import Group
from blitznet.train.ema import ModelEma
from blitznet.train.initialize import make_network
from blitznet.train.optimizer import make_optimizer
from blitznet.train.recipes import lite
from blitznet.train.schedule import ema_decay
from blitznet.train.step import update
from learning import batches
from report import DATA, require_images, show, write

LIMIT = 1.25
"""times the network alone"""
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


@dataclass(frozen=True)
class Options:
    """What is timed."""

    batch: int = 16
    steps: int = 6
    """counted in a block"""
    warmup: int = 2
    """steps at the beginning of a block that are not counted"""
    rounds: int = 5
    """blocks of each kind, of which the median counts"""
    precision: Precision = lite().precision
    """of training"""
    workers: int = lite().workers
    threads: int = 0
    """of torch, 0: one a core"""
    seed: int = 0
    root: Path = DATA
    json: Path | None = None


@dataclass(frozen=True)
class Row:
    """One kind of step."""

    what: str
    precision: str
    milliseconds: float
    """median over the blocks of a block's mean"""
    blocks: tuple[float, ...]


class Bench:
    """The default model with all it needs for a step."""

    def __init__(self, options: Options) -> None:
        self.options = options
        config = replace(lite(), root=options.root, batch=options.batch, workers=options.workers, seed=options.seed)
        self.config = replace(config, precision=options.precision)
        net, self.spec = make_network(self.config, ())
        self.net = net.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub
        self.average, self.optimizer = ModelEma(self.net), make_optimizer(self.net, self.config)
        self.group = Group(0, 1, torch.device("cpu"))
        anchors = generate_anchors(self.spec.anchors, feature_map_sizes(self.spec.anchors, self.spec.size))
        self.anchors = torch.from_numpy(anchors.copy())
        self.sets = map_sets(open_all(self.config.sources(self.config.data)), (), self.spec.classes, self.config)

    def stream(self, *, workers: int) -> Iterator[Batch]:
        """Batches from the first one on."""
        config = replace(self.config, workers=workers)
        return batches(self.sets.training, self.spec, config, self.sets.stream)

    def train(self) -> float:
        """Milliseconds of a step of a training block."""
        given = self.stream(workers=self.options.workers)

        def step() -> None:
            update(
                self.net,
                [next(given)],
                self.optimizer,
                anchors=self.anchors,
                spec=self.spec,
                config=self.config,
                group=self.group,
            )
            self.average.update(self.net, ema_decay(self.config, self.config.steps))

        return self.block(step)

    def alone(self, images: torch.Tensor, precision: Precision) -> float:
        """Milliseconds of a step of a block of forward and backward."""

        def step() -> None:
            self.net.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                heads = self.net(images)
            answers = [heads.offsets, heads.logits, heads.class_map]
            torch.autograd.backward(answers, [torch.full_like(answer, 1e-6) for answer in answers])

        return self.block(step)

    def block(self, step: Callable[[], None]) -> float:
        """Milliseconds of a step, after some that are not counted."""
        for _ in range(self.options.warmup):
            step()
        begun = time.perf_counter()
        for _ in range(self.options.steps):
            step()
        return 1e3 * (time.perf_counter() - begun) / self.options.steps


def measure(options: Options) -> list[Row]:
    """Blocks of all kinds in turn."""
    bench = Bench(options)
    images = normalize(next(bench.stream(workers=0)).images, bench.spec)
    blocks: dict[tuple[str, str], list[float]] = {}
    for _ in range(options.rounds):
        blocks.setdefault(("training, data included", options.precision), []).append(bench.train())
        for precision in PRECISIONS:
            found = bench.alone(images, precision)
            blocks.setdefault(("forward and backward alone", precision), []).append(found)
    return [Row(*key, statistics.median(found), tuple(found)) for key, found in blocks.items()]


def main(options: Options) -> None:
    """Measure, print, write."""
    require_images(options.root)
    if options.threads:
        torch.set_num_threads(options.threads)
    rows = measure(options)
    by_precision = {row.precision: row.milliseconds for row in rows[1:]}
    ratio = rows[0].milliseconds / by_precision[options.precision]
    fastest = min(by_precision, key=lambda precision: by_precision[precision])
    table = [
        (row.what, row.precision, f"{row.milliseconds:.0f}", f"{1e3 * options.batch / row.milliseconds:.1f}")
        for row in rows
    ]
    notes = [
        f"training takes {ratio:.2f} times the network alone (at most {LIMIT}): "
        f"{'holds' if ratio <= LIMIT else 'fails'}",
        f"the faster precision is {fastest}, by {max(by_precision.values()) / min(by_precision.values()):.2f}",
    ]
    show(f"a step of {options.batch} images", ("step", "precision", "milliseconds", "images/s"), table, notes)
    write(options.json, options, rows=rows, ratio=ratio, holds=ratio <= LIMIT, fastest=fastest)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
