"""Batches from the stream: samples are read and augmented in workers, and arrive in the stream's order."""

import signal
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from blitznet.core.errors import UsageError
from blitznet.data.augment import Policy, augment
from blitznet.data.dataset import Dataset
from blitznet.data.example import Example
from blitznet.train.batch import Batch, collate
from blitznet.train.stream import Draw, Stream


class Augmented(TorchDataset[Example]):
    """Draws to augmented examples of the network's size."""

    def __init__(
        self, datasets: Sequence[Dataset], policy: Policy, *, size: tuple[int, int], map_size: tuple[int, int]
    ) -> None:
        self.datasets, self.policy, self.size, self.map_size = datasets, policy, size, map_size

    def __getitem__(self, draw: Draw) -> Example:
        sample = self.datasets[draw.dataset][draw.index]
        rng = np.random.default_rng(draw.seed)
        return augment(sample, rng, self.policy, size=self.size, map_size=self.map_size)


def parts_of(draws: Iterator[Draw], *, batch: int, rank: int, world: int, accumulate: int) -> Iterator[list[Draw]]:
    """Cut the stream into batches, each into a part for every process and every accumulated pass."""
    while chunk := list(islice(draws, batch)):
        for turn in range(accumulate):
            yield chunk[rank * accumulate + turn :: world * accumulate]


def make_loader(
    examples: Augmented,
    stream: Stream,
    *,
    batch: int,
    first: int,
    rank: int = 0,
    world: int = 1,
    accumulate: int = 1,
    workers: int = 0,
) -> Iterator[Batch]:
    """This process's parts of endless batches, from batch number `first` on; `accumulate` parts a batch."""
    if batch % (world * accumulate):
        raise UsageError(f"--batch {batch} cannot be dealt to {world} processes x {accumulate} parts evenly")
    draws = stream.draws(first * batch)
    parts = parts_of(draws, batch=batch, rank=rank, world=world, accumulate=accumulate)
    loader = DataLoader(
        examples,
        batch_sampler=parts,
        num_workers=workers,
        collate_fn=collate,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_leave_interrupts if workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    return iter(loader)


def _leave_interrupts(worker: int) -> None:  # noqa: ARG001 - the loader passes it
    """Ctrl-C reaches every process of the terminal; the run ends its step first, and needs its workers for that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
