"""The data sets of a run: opened, brought to the classes that are learned, kept apart, and shuffled."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blitznet.core.classes import canonical
from blitznet.core.errors import DataError, UsageError
from blitznet.data.dataset import Dataset, require_no_errors
from blitznet.data.leaks import find_leaks, refuse_leaks
from blitznet.data.mapping import MappedDataset, map_classes
from blitznet.data.pseudo import PseudoMaskDataset, with_pseudo_masks
from blitznet.data.sources import Source, open_dataset, parse_source
from blitznet.data.statistics import class_presence
from blitznet.train.config import TrainConfig
from blitznet.train.sampler import EpochSampler, entries_of, repeat_factors


@dataclass(frozen=True, slots=True)
class Opened:
    """A set as it was asked for, under its own names."""

    source: Source
    dataset: Dataset


@dataclass(frozen=True, slots=True, eq=False)
class Sets:
    """The sets of a run under the classes that it learns."""

    training: Sequence[MappedDataset | PseudoMaskDataset]
    evaluation: list[MappedDataset]
    stream: EpochSampler
    """the order in which the training images are seen"""
    left_out: int
    """training images that evaluation sets hold, and that are not seen therefore"""


def open_all(texts: Sequence[str]) -> list[Opened]:
    """Each set as it was asked for; refuses one with annotations that cannot be read."""
    opened = [Opened(source, open_dataset(source)) for source in map(parse_source, texts)]
    for one in opened:
        require_no_errors(one.dataset)
    return opened


def own_classes(opened: Sequence[Opened]) -> tuple[str, ...]:
    """The classes that the sets annotate, each once: in the first spelling that occurs, what is void left out."""
    names: dict[str, str] = {}
    for one in opened:
        void = {canonical(name) for name in one.source.void}
        for name in one.source.classes or one.dataset.class_names:
            if canonical(name) not in void:
                names.setdefault(canonical(name), name)
    return tuple(names.values())


def map_sets(
    training: Sequence[Opened], evaluation: Sequence[Opened], classes: tuple[str, ...], config: TrainConfig
) -> Sets:
    """Both kinds of sets under the `classes`, no image in both unless that is allowed."""
    seen, judged = _taught(training, classes, config.pseudo), _mapped(evaluation, classes)
    if config.drop_leaks:
        left_out = {(leak.titles[1], leak.evaluation) for leak in find_leaks(judged, seen)}
    else:
        left_out = set()
        if not config.allow_leaks:
            refuse_leaks(seen, judged)
    weights = np.asarray([one.source.weight for one in training])
    return Sets(seen, judged, _stream(seen, weights, left_out, config), len(left_out))


def _mapped(opened: Sequence[Opened], classes: tuple[str, ...]) -> list[MappedDataset]:
    return [map_classes(one.dataset, classes, annotated=one.source.classes, void=one.source.void) for one in opened]


def _taught(
    opened: Sequence[Opened], classes: tuple[str, ...], folder: Path | None
) -> list[MappedDataset] | list[PseudoMaskDataset]:
    mapped = _mapped(opened, classes)
    if folder is None:
        return mapped
    taught = [with_pseudo_masks(dataset, one.source, folder) for dataset, one in zip(mapped, opened, strict=True)]
    if not any(one.folder.is_dir() for one in taught):
        expected = ", ".join(sorted(one.folder.name for one in taught))
        raise DataError(f"--pseudo {folder}: holds class maps of none of the training sets, expected one of {expected}")
    return taught


def _stream(
    datasets: Sequence[Dataset],
    weights: NDArray[np.float64],
    left_out: Collection[tuple[str, str]],
    config: TrainConfig,
) -> EpochSampler:
    entries = entries_of(datasets, config.holdout, left_out)
    if not len(entries):
        raise UsageError("the training sets hold no image that may be learned from; look at --data and --holdout")
    shares = weights[entries[:, 0]]
    if config.repeat:
        shares = shares * repeats(datasets, entries, config.repeat)
    return EpochSampler(entries, shares, config.seed)


def repeats(datasets: Sequence[Dataset], entries: NDArray[np.int64], threshold: float) -> NDArray[np.float64]:
    """(N,) repeat factors of the entries (N, 2), images with and without a mask counted apart."""
    firsts = np.cumsum([0, *(len(dataset) for dataset in datasets)])
    presence = np.concatenate([class_presence(dataset) for dataset in datasets])[firsts[entries[:, 0]] + entries[:, 1]]
    masked = np.array([datasets[number][index].mask is not None for number, index in entries])
    factors = np.ones(len(entries))
    for group in (masked, ~masked):
        if group.any():
            factors[group] = repeat_factors(presence[group], threshold)
    return factors
