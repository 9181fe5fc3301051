"""Data loading: workers read and augment samples; batches arrive in the sampler's order."""

import atexit
import signal
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import resource_sharer
from multiprocessing.process import BaseProcess
from traceback import walk_tb

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from blitznet.core.errors import BlitzNetError, UsageError
from blitznet.core.interrupts import INTERRUPTS, hold_interrupts
from blitznet.core.sample import Dataset
from blitznet.data.augment import Policy
from blitznet.data.mixing import MixPolicy, MixPool, mix
from blitznet.data.train_sample import TrainSample
from blitznet.train.batch import Batch, collate
from blitznet.train.sampler import EpochSampler, SampleDraw


class AugmentedDataset(TorchDataset[TrainSample]):
    """Drawn samples, augmented and resized to the network's input size."""

    def __init__(
        self,
        datasets: Sequence[Dataset],
        policy: Policy,
        *,
        size: tuple[int, int],
        map_size: tuple[int, int],
        soft_size: tuple[int, int] | None = None,
        mix_policy: MixPolicy | None = None,
        pool: MixPool | None = None,
    ) -> None:
        """Sizes are (height, width) of the image, the class map and the soft labels; mixing needs a pool."""
        self.datasets, self.policy = datasets, policy
        self.mix_policy, self.pool = mix_policy, pool
        self.size, self.map_size, self.soft_size = size, map_size, soft_size

    def __getitem__(self, draw: SampleDraw) -> TrainSample:
        return mix(
            self.datasets,
            draw.dataset,
            draw.index,
            np.random.default_rng(draw.seed),
            self.policy,
            pool=self.pool,
            mix_policy=self.mix_policy,
            size=self.size,
            map_size=self.map_size,
            soft_size=self.soft_size,
        )


@dataclass(frozen=True, slots=True)
class WorkerError:
    """An error in a worker as its type and message; errors whose constructors differ cannot be pickled."""

    kind: type[BlitzNetError]
    message: str

    def to_exception(self) -> BlitzNetError:
        """The exception to raise in the main process; its constructor is not called."""
        return self.kind.__new__(self.kind, self.message)


class LoaderDiedError(BlitzNetError):
    """A loader process ended without an error of its own, such as by the system for want of memory."""


@contextmanager
def translate_loader_errors() -> Iterator[None]:
    """Raise what torch raises for a dead loader process, at any place in the block, as a LoaderDiedError."""
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError, FileNotFoundError) as error:
        is_named = isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker")
        # A loader that ends while it hands over a batch is a broken connection.
        if not is_named and (isinstance(error, RuntimeError) or not _is_raised_in(error, resource_sharer.__name__)):
            raise
        reason = str(error).split(". ")[0] if is_named else "it did not hand over a batch"
        raise LoaderDiedError(
            f"expected the data loader processes to run, got one that ended ({reason}); is the memory "
            "full? Lower --workers, and run the same command to resume"
        ) from error


def _is_raised_in(error: BaseException, module: str) -> bool:
    """Whether an error passed through a function of a module."""
    return any(frame.f_globals.get("__name__") == module for frame, _ in walk_tb(error.__traceback__))


class _CatchErrors(TorchDataset[TrainSample | WorkerError]):
    """Samples, or errors as values: the data loader would wrap a raised error in its traceback."""

    def __init__(self, samples: AugmentedDataset) -> None:
        self.samples = samples

    def __getitem__(self, draw: SampleDraw) -> TrainSample | WorkerError:
        try:
            return self.samples[draw]
        except BlitzNetError as error:
            return WorkerError(type(error), str(error))


def split_batches(
    draws: Iterator[SampleDraw], *, batch: int, rank: int, world_size: int, accumulate: int
) -> Iterator[list[SampleDraw]]:
    """Cut the sequence into batches, and each batch into parts; yield the parts of this process."""
    while chunk := list(islice(draws, batch)):
        for part in range(accumulate):
            yield chunk[rank * accumulate + part :: world_size * accumulate]


def make_loader(
    samples: AugmentedDataset,
    sampler: EpochSampler,
    *,
    batch: int,
    first: int,
    rank: int = 0,
    world_size: int = 1,
    accumulate: int = 1,
    workers: int = 0,
) -> "Batches":
    """This process's parts of endless batches, `accumulate` parts per batch.

    Args:
        samples: Reads and augments a drawn sample.
        sampler: The order of the samples.
        batch: Images per batch, over all processes.
        first: Number of the first batch, counted from 0.
        rank: Number of this process.
        world_size: Number of processes.
        accumulate: Parts that each process's share of a batch is cut into.
        workers: Loader processes.

    Raises:
        UsageError: The batch cannot be split evenly.
        BlitzNetError: A sample cannot be read; raised while iterating.
    """
    if batch % (world_size * accumulate):
        raise UsageError(f"--batch {batch}: expected a multiple of {world_size} processes x {accumulate} parts")
    draws = sampler.draws(first * batch)
    parts = split_batches(draws, batch=batch, rank=rank, world_size=world_size, accumulate=accumulate)
    loader = DataLoader(
        _CatchErrors(samples),
        batch_sampler=parts,
        num_workers=workers,
        collate_fn=_collate_or_error,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_ignore_interrupts if workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    with hold_interrupts():  # workers start here, and could be ended by a signal before they ignore it
        return Batches(iter(loader))


class Batches(Iterator[Batch]):
    """The batches of a data loader, whose processes end with `close`, or else at the end of this process."""

    def __init__(self, loaded: Iterator[Batch | WorkerError]) -> None:
        """Take over the iterator of a loader."""
        self._loaded = loaded
        self._processes: tuple[BaseProcess, ...] = tuple(getattr(loaded, "_workers", ()))
        if self._processes:
            atexit.register(_close, weakref.ref(self))  # before multiprocessing waits for them

    def __next__(self) -> Batch:
        batch = next(self._loaded)
        if isinstance(batch, WorkerError):
            raise batch.to_exception()
        return batch

    def close(self) -> None:
        """Ask the processes to end, and wait for them. Those that do not end are killed."""
        # They ignore the signal by which torch's loader and multiprocessing would end them. If one was killed from
        # outside, it may have held a lock that the others need.
        processes, self._processes = self._processes, ()
        end = getattr(self._loaded, "_shutdown_workers", None)
        try:
            if end is not None and not any(process.exitcode for process in processes):
                end()
        finally:
            for process in processes:
                with suppress(RuntimeError):  # torch's handler of SIGCHLD reports each
                    if process.is_alive():
                        process.kill()
                    process.join()


def _close(reference: "weakref.ref[Batches]") -> None:
    batches = reference()
    if batches is not None:
        batches.close()


def _collate_or_error(samples: Sequence[TrainSample | WorkerError]) -> Batch | WorkerError:
    """A batch, or the first error in it."""
    error = next((sample for sample in samples if isinstance(sample, WorkerError)), None)
    return error or collate([sample for sample in samples if isinstance(sample, TrainSample)])


def _ignore_interrupts(worker: int) -> None:  # noqa: ARG001 - the data loader passes it
    """Ctrl-C, `timeout` and job schedulers signal the whole group; the run needs its workers to complete the step."""
    for number in INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)
