"""Time of matching and losses beside the network's forward and backward pass, interleaved in one run.

`python -m benchmarks.training.losses --json losses.json`
"""

import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor

from benchmarks._lib.results import Table, at_most, print_results, write_json
from blitznet.bench.timing import timed
from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.arrays import IGNORE_INDEX
from blitznet.core.models import get_spec
from blitznet.core.spec import Spec
from blitznet.data.train_sample import TrainSample
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.parts import HeadOutputs
from blitznet.train.batch import Batch, collate
from blitznet.train.config import TrainPrecision
from blitznet.train.losses import losses
from blitznet.train.matching import match

MAX_PERCENT = {"blitznet300-s4": 5.0, "blitznet300-lite": 15.0}
"""goals: model -> time of matching and losses, percent of the network's"""


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    models: tuple[str, ...] = tuple(MAX_PERCENT)
    batch: int = 32
    rounds: int = 5
    """Rounds, of which the median is reported, after one round of warm-up. Default: 5."""
    partial_fraction: float = 0.0
    """Fraction of the images in which one class is not annotated. Default: 0."""
    precision: TrainPrecision = "float32"
    seed: int = 0
    json: Path | None = None
    """Write the results to this file."""


@dataclass(frozen=True)
class Row:
    """Medians of one model, milliseconds."""

    model: str
    batch: int
    anchors: int
    network: float
    matching: float
    losses: float
    percent: float
    """matching and losses, as a percentage of the network"""


def random_sample(spec: Spec, rng: np.random.Generator, *, partial: bool) -> TrainSample:
    """One to six objects of all sizes, which fill their boxes in the class map."""
    height, width = (-(-edge // spec.network.segmentation_stride) for edge in spec.size)
    count = int(rng.integers(1, 7))
    box_sizes = np.exp(rng.uniform(np.log(0.05), np.log(0.9), (count, 2)))
    corners = rng.random((count, 2)) * (1 - box_sizes)
    boxes = np.concatenate([corners, corners + box_sizes], 1).astype(np.float32)
    labels = rng.integers(0, len(spec.classes), count)
    class_map = np.zeros((height, width), np.uint8)
    for (x1, y1, x2, y2), label in zip(boxes * ([width, height] * 2), labels, strict=True):
        class_map[int(y1) : int(y2) + 1, int(x1) : int(x2) + 1] = label + 1
    class_map[rng.random(class_map.shape) < 0.05] = IGNORE_INDEX
    annotated = np.ones(len(spec.classes), bool)
    annotated[-1] = not partial
    image = rng.integers(0, 256, (*spec.size, 3), np.uint8)
    return TrainSample("", image, boxes, labels, np.zeros(count, bool), class_map, annotated, annotated)


def measure(name: str, options: Options) -> Row:
    """Time one model: the network, then matching and losses, round after round."""
    spec = get_spec(name)
    rng = np.random.default_rng(options.seed)
    num_partial = options.partial_fraction * options.batch
    batch = collate([random_sample(spec, rng, partial=index < num_partial) for index in range(options.batch)])
    anchors = torch.from_numpy(generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, spec.size)).copy())
    net = build(spec).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub
    images = batch.images.float().div_(255)
    with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bfloat16"):
        rounds = [time_round(net, images, anchors, batch) for _ in range(options.rounds + 1)][1:]
    network, matching, loss = (statistics.median(column) for column in zip(*rounds, strict=True))
    return Row(name, options.batch, len(anchors), network, matching, loss, 100 * (matching + loss) / network)


def time_round(net: BlitzNet, images: Tensor, anchors: Tensor, batch: Batch) -> tuple[float, float, float]:
    """Milliseconds of the network's forward and backward, of matching, and of the losses' forward and backward.

    The outputs are detached from the network, so both backward passes are timed separately.
    """
    heads, forward = timed(lambda: net(images))
    outputs = [heads.offsets, heads.logits, heads.segmentation_logits]
    leaves = [tensor.detach().requires_grad_() for tensor in outputs]
    targets, matching = timed(lambda: match(anchors, batch))
    _, loss = timed(lambda: torch.autograd.backward(losses(HeadOutputs(*leaves), batch, targets).total))
    _, backward = timed(lambda: torch.autograd.backward(outputs, [leaf.grad for leaf in leaves]))
    net.zero_grad()
    return forward + backward, matching, loss


def main(options: Options) -> None:
    """Measure, print and write."""
    rows = [measure(name, options) for name in options.models]
    cells = [
        (
            row.model,
            str(row.batch),
            f"{row.anchors:,}",
            *(f"{value:.0f}" for value in (row.network, row.matching, row.losses)),
            f"{row.percent:.1f} %",
        )
        for row in rows
    ]
    columns = ("model", "batch", "anchors", "network", "matching", "losses", "percent")
    table = Table("matching and losses beside the network, milliseconds", columns, cells)
    goals = [
        at_most(f"{row.model}, matching and losses", row.percent, MAX_PERCENT[row.model], " %")
        for row in rows
        if row.model in MAX_PERCENT
    ]
    print_results([table], goals)
    write_json(options.json, options, rows=rows, tables=[table], goals=goals)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
