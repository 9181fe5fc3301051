"""Batches from the stream: samples are read and augmented in workers, and arrive in the stream's order."""

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from blitznet.core.errors import BlitzNetError, UsageError
from blitznet.data.augment import Policy, augment
from blitznet.data.dataset import Dataset
from blitznet.data.train_sample import TrainSample
from blitznet.train.batch import Batch, collate
from blitznet.train.sampler import EpochSampler, SampleDraw


class Augmented(TorchDataset[TrainSample]):
    """Draws to augmented examples of the network's size."""

    def __init__(
        self, datasets: Sequence[Dataset], policy: Policy, *, size: tuple[int, int], map_size: tuple[int, int]
    ) -> None:
        self.datasets, self.policy, self.size, self.map_size = datasets, policy, size, map_size

    def __getitem__(self, draw: SampleDraw) -> TrainSample:
        sample = self.datasets[draw.dataset][draw.index]
        rng = np.random.default_rng(draw.seed)
        return augment(sample, rng, self.policy, size=self.size, map_size=self.map_size)


@dataclass(frozen=True, slots=True)
class Failure:
    """A user's error on its way to the run: in words, for not every error can be made again by its constructor."""

    kind: type[BlitzNetError]
    message: str

    def error(self) -> BlitzNetError:
        """The error itself."""
        return self.kind.__new__(self.kind, self.message)


class _Told(TorchDataset[TrainSample | Failure]):
    """Examples, and errors as values: the loader would wrap one that a worker raises in all of its traceback."""

    def __init__(self, examples: Augmented) -> None:
        self.examples = examples

    def __getitem__(self, draw: SampleDraw) -> TrainSample | Failure:
        try:
            return self.examples[draw]
        except BlitzNetError as error:
            return Failure(type(error), str(error))


def parts_of(
    draws: Iterator[SampleDraw], *, batch: int, rank: int, world: int, accumulate: int
) -> Iterator[list[SampleDraw]]:
    """Cut the stream into batches, each into a part for every process and every accumulated pass."""
    while chunk := list(islice(draws, batch)):
        for turn in range(accumulate):
            yield chunk[rank * accumulate + turn :: world * accumulate]


def make_loader(
    examples: Augmented,
    stream: EpochSampler,
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
        _Told(examples),
        batch_sampler=parts,
        num_workers=workers,
        collate_fn=_collate,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_leave_interrupts if workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    return map(_arrived, iter(loader))


def _collate(parts: Sequence[TrainSample | Failure]) -> Batch | Failure:
    """A batch, or the first error in it."""
    failure = next((part for part in parts if isinstance(part, Failure)), None)
    return failure or collate([part for part in parts if isinstance(part, TrainSample)])


def _arrived(batch: Batch | Failure) -> Batch:
    if isinstance(batch, Failure):
        raise batch.error()
    return batch


def _leave_interrupts(worker: int) -> None:  # noqa: ARG001 - the loader passes it
    """Ctrl-C reaches every process of the terminal; the run ends its step first, and needs its workers for that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
