"""The order in which samples are seen: a function of the seed and the position, of nothing else.

So a run that resumes in the middle of an epoch, or reads with another number of workers, or shares its
batches among processes, sees the very same samples with the very same augmentation.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blitznet.data.dataset import Dataset


@dataclass(frozen=True, slots=True)
class SampleDraw:
    """One sample of the stream: which one, and the seed of its augmentation."""

    dataset: int
    index: int
    seed: tuple[int, int, int]
    """(run's seed, epoch, place in the epoch)"""


class EpochSampler:
    """An endless shuffled sequence over all data sets: each epoch a full permutation.

    A sample is shown `share` times an epoch on average: its set's weight times its repeat factor;
    fractions are settled anew each epoch.
    """

    def __init__(self, entries: NDArray[np.int64], shares: NDArray[np.float64], seed: int) -> None:
        assert len(entries) == len(shares), "one share for each sample"
        self.entries = entries
        self.shares = shares
        self.seed = seed

    def epoch(self, number: int) -> NDArray[np.int64]:
        """Rows of `entries` in the order of this epoch."""
        rng = np.random.default_rng((self.seed, number))
        whole = np.floor(self.shares)
        times = whole + (rng.random(len(self.shares)) < self.shares - whole)
        rows = np.repeat(np.arange(len(self.shares)), times.astype(np.int64))
        return rng.permutation(rows)

    def draws(self, start: int = 0) -> Iterator[SampleDraw]:
        """The stream from position `start` on."""
        number, skip = 0, start
        while True:
            rows = self.epoch(number)
            for place in range(min(skip, len(rows)), len(rows)):
                dataset, index = self.entries[rows[place]]
                yield SampleDraw(int(dataset), int(index), (self.seed, number, place))
            skip = max(0, skip - len(rows))
            number += 1


def repeat_factors(presence: NDArray[np.bool_], threshold: float) -> NDArray[np.float64]:
    """How often each sample (N,) is shown for its rarest class: max(1, sqrt(threshold / frequency)).

    presence (N, K): which classes a sample holds. Source: LVIS, appendix B.2.
    """
    frequency = presence.mean(0)
    factor = np.sqrt(threshold / np.maximum(frequency, 1e-9)).clip(1)
    return np.asarray(np.where(presence, factor, 1.0).max(1, initial=1.0), np.float64)


def held_out(sample_id: str, share: float) -> bool:
    """Whether a sample is kept back for decisions: by a hash of its id, so it never changes."""
    digest = int.from_bytes(hashlib.sha256(sample_id.encode()).digest()[:4], "little")
    return digest < share * 2**32


def entries_of(
    datasets: Sequence[Dataset], holdout: float, left_out: Collection[tuple[str, str]] = ()
) -> NDArray[np.int64]:
    """(N, 2) data set and index of every sample that is not held out, nor `left_out` by its set's title and its id."""
    rows = [
        (number, index)
        for number, dataset in enumerate(datasets)
        for index, sample_id in enumerate(dataset.ids)
        if not held_out(sample_id, holdout) and (dataset.title, sample_id) not in left_out
    ]
    return np.asarray(rows, np.int64).reshape(-1, 2)
