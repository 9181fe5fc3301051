"""What matching and losses cost beside the network itself: forward and backward, in one run, taking turns.

`python benchmarks/losses.py --json losses.json`
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
import tyro
from torch import Tensor

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.arrays import IGNORE_INDEX
from blitznet.core.models import get_spec
from blitznet.core.spec import Spec
from blitznet.data.train_sample import TrainSample
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.parts import Heads
from blitznet.train.batch import Batch, collate
from blitznet.train.losses import losses
from blitznet.train.matching import match
from report import show, write

Answer = TypeVar("Answer")
LIMITS = {"blitznet300-s4": 5.0, "blitznet300-lite": 15.0}
"""percent of the network's own time that may be spent"""


@dataclass(frozen=True)
class Options:
    """What is timed."""

    models: tuple[str, ...] = tuple(LIMITS)
    batch: int = 32
    rounds: int = 5
    """of which the median counts; one more is run first to warm up"""
    partly: float = 0.0
    """part of the images in which one class was not annotated"""
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0
    json: Path | None = None


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
    """matching and losses of the network"""


def example(spec: Spec, rng: np.random.Generator, *, partly: bool) -> TrainSample:
    """One to six objects of all sizes, painted into the class map as the boxes they are."""
    height, width = (-(-side // spec.network.segmentation_stride) for side in spec.size)
    count = int(rng.integers(1, 7))
    side = np.exp(rng.uniform(np.log(0.05), np.log(0.9), (count, 2)))
    low = rng.random((count, 2)) * (1 - side)
    boxes = np.concatenate([low, low + side], 1).astype(np.float32)
    labels = rng.integers(0, len(spec.classes), count)
    class_map = np.zeros((height, width), np.uint8)
    for (x1, y1, x2, y2), label in zip(boxes * ([width, height] * 2), labels, strict=True):
        class_map[int(y1) : int(y2) + 1, int(x1) : int(x2) + 1] = label + 1
    class_map[rng.random(class_map.shape) < 0.05] = IGNORE_INDEX
    annotated = np.ones(len(spec.classes), bool)
    annotated[-1] = not partly
    image = rng.integers(0, 256, (*spec.size, 3), np.uint8)
    return TrainSample("", image, boxes, labels, np.zeros(count, bool), class_map, annotated, annotated)


def timed(work: Callable[[], Answer]) -> tuple[Answer, float]:
    """What a call answers, and its milliseconds."""
    start = time.perf_counter()
    answer = work()
    return answer, 1e3 * (time.perf_counter() - start)


def measure(name: str, options: Options) -> Row:
    """Time one model: the network, then what is done with its heads, round after round."""
    spec = get_spec(name)
    rng = np.random.default_rng(options.seed)
    batch = collate([example(spec, rng, partly=k < options.partly * options.batch) for k in range(options.batch)])
    anchors = torch.from_numpy(generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, spec.size)).copy())
    net = build(spec).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub
    images = batch.images.float().div_(255)
    with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bfloat16"):
        rounds = [one_round(net, images, anchors, batch) for _ in range(options.rounds + 1)][1:]
    network, matching, rest = (statistics.median(column) for column in zip(*rounds, strict=True))
    return Row(name, options.batch, len(anchors), network, matching, rest, 100 * (matching + rest) / network)


def one_round(net: BlitzNet, images: Tensor, anchors: Tensor, batch: Batch) -> tuple[float, float, float]:
    """Milliseconds of the network's forward and backward, of matching, of the losses' forward and backward.

    The heads are cut from the network, so that each backward is timed alone.
    """
    heads, forward = timed(lambda: net(images))
    outputs = [heads.offsets, heads.logits, heads.class_map]
    leaves = [tensor.detach().requires_grad_() for tensor in outputs]
    targets, matching = timed(lambda: match(anchors, batch))
    _, rest = timed(lambda: torch.autograd.backward(losses(Heads(*leaves), batch, targets).total))
    _, backward = timed(lambda: torch.autograd.backward(outputs, [leaf.grad for leaf in leaves]))
    net.zero_grad()
    return forward + backward, matching, rest


def main(options: Options) -> None:
    """Measure, print, write."""
    rows = [measure(name, options) for name in options.models]
    table = []
    for row in rows:
        numbers = (f"{value:.0f}" for value in (row.network, row.matching, row.losses))
        limit = LIMITS.get(row.model)
        most = "" if limit is None else f"{limit:.0f} %"
        table.append((row.model, str(row.batch), f"{row.anchors:,}", *numbers, f"{row.percent:.1f} %", most))
    columns = ("model", "batch", "anchors", "network", "matching", "losses", "share", "at most")
    show("matching and losses beside the network, milliseconds", columns, table)
    write(options.json, options, rows=rows)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
