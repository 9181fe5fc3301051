"""The order of the training images as a function of the seed and the position.

A run that is resumed in the middle of an epoch, or uses another number of workers or processes, gets the same samples
with the same augmentation.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blitznet.core.sample import Dataset
from blitznet.data.hash_split import in_hash_fraction


@dataclass(frozen=True, slots=True)
class SampleDraw:
    """One drawn sample, and the seed of its augmentation."""

    dataset: int
    index: int
    seed: tuple[int, int, int]
    """(seed of the run, epoch, position in the epoch)"""


class EpochSampler:
    """An endless sequence of shuffled epochs over all datasets.

    A sample occurs `frequencies[i]` times per epoch on average: its set's weight times its repeat factor. The
    fractional part is drawn anew for each epoch.
    """

    def __init__(self, entries: NDArray[np.int64], frequencies: NDArray[np.float64], seed: int) -> None:
        """Entries (N, 2) are dataset and index of each sample; frequencies (N,) are occurrences per epoch."""
        assert len(entries) == len(frequencies), "one frequency for each sample"
        self.entries = entries
        self.frequencies = frequencies
        self.seed = seed

    @property
    def images_per_epoch(self) -> float:
        """Mean number of images per epoch."""
        return float(self.frequencies.sum())

    def epoch(self, number: int) -> NDArray[np.int64]:
        """Rows of `entries` in the order of this epoch."""
        rng = np.random.default_rng((self.seed, number))
        whole = np.floor(self.frequencies)
        times = whole + (rng.random(len(self.frequencies)) < self.frequencies - whole)
        rows = np.repeat(np.arange(len(self.frequencies)), times.astype(np.int64))
        return rng.permutation(rows)

    def draws(self, start: int = 0) -> Iterator[SampleDraw]:
        """The sequence from position `start` on."""
        number, skip = 0, start
        while True:
            rows = self.epoch(number)
            for position in range(min(skip, len(rows)), len(rows)):
                dataset, index = self.entries[rows[position]]
                yield SampleDraw(int(dataset), int(index), (self.seed, number, position))
            skip = max(0, skip - len(rows))
            number += 1


def repeat_factors(occurrence: NDArray[np.bool_], threshold: float) -> NDArray[np.float64]:
    """Repeat factor (N,) of each sample by its rarest class: max(1, sqrt(threshold / frequency)).

    Source: LVIS, appendix B.2.

    Args:
        occurrence: (N, K) bool, classes that each sample contains.
        threshold: Fraction of the samples below which a class is rare.
    """
    frequency = occurrence.mean(0)
    factor = np.sqrt(threshold / np.maximum(frequency, 1e-9)).clip(1)
    return np.asarray(np.where(occurrence, factor, 1.0).max(1, initial=1.0), np.float64)


def list_entries(
    datasets: Sequence[Dataset], holdout: float, left_out: Collection[tuple[str, str]] = ()
) -> NDArray[np.int64]:
    """(N, 2) dataset and index of every sample that is not held out.

    Args:
        datasets: All training sets.
        holdout: Fraction of the samples to hold out.
        left_out: Further samples to leave out, as pairs of a set's title and a sample's id.
    """
    rows = [
        (number, index)
        for number, dataset in enumerate(datasets)
        for index, sample_id in enumerate(dataset.ids)
        if not in_hash_fraction(sample_id, holdout) and (dataset.title, sample_id) not in left_out
    ]
    return np.asarray(rows, np.int64).reshape(-1, 2)
