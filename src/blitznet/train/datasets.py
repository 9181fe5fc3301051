"""The datasets of a run: opened, mapped to the trained classes, checked for leaks, and sampled."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blitznet.core.classes import canonical
from blitznet.core.errors import DataError, UsageError
from blitznet.core.sample import Dataset
from blitznet.data.dataset import require_no_errors
from blitznet.data.leaks import find_leaks, refuse_leaks
from blitznet.data.mapping import MappedDataset, map_classes
from blitznet.data.pseudo import PseudoMaskDataset, with_pseudo_masks
from blitznet.data.soft_labels import SoftLabelDataset, with_soft_labels
from blitznet.data.sources import DatasetSource, open_dataset, parse_source
from blitznet.data.statistics import class_occurrence
from blitznet.train.config import TrainConfig
from blitznet.train.sampler import EpochSampler, list_entries, repeat_factors


@dataclass(frozen=True, slots=True)
class OpenedSet:
    """An opened dataset under its own class names."""

    source: DatasetSource
    dataset: Dataset


@dataclass(frozen=True, slots=True, eq=False)
class TrainData:
    """The datasets of a run under the trained classes."""

    training: Sequence[MappedDataset | PseudoMaskDataset | SoftLabelDataset]
    evaluation: list[MappedDataset]
    sampler: EpochSampler
    """sampler of the training images"""
    num_leaks: int
    """training images that are left out because evaluation sets contain them"""


def open_all(texts: Sequence[str]) -> list[OpenedSet]:
    """Open datasets under their own class names.

    Args:
        texts: Dataset strings FORMAT:ROOT@SPLIT,option=value.

    Raises:
        DataError: A set does not exist, or has annotations that cannot be read.
    """
    opened = [OpenedSet(source, open_dataset(source)) for source in map(parse_source, texts)]
    for item in opened:
        require_no_errors(item.dataset)
    return opened


def annotated_classes(opened: Sequence[OpenedSet]) -> tuple[str, ...]:
    """The classes that the sets annotate, without ignored ones; each once, in its first spelling."""
    names: dict[str, str] = {}
    for item in opened:
        ignored = {canonical(name) for name in item.source.ignore}
        for name in item.source.annotated or item.dataset.class_names:
            if canonical(name) not in ignored:
                names.setdefault(canonical(name), name)
    return tuple(names.values())


def prepare_data(
    training: Sequence[OpenedSet], evaluation: Sequence[OpenedSet], class_names: tuple[str, ...], config: TrainConfig
) -> TrainData:
    """Map all sets to the trained classes, check them for leaks, and make the sampler.

    Raises:
        DataError: Training and evaluation sets share images and the config neither drops nor allows them, or the
            folder of pseudo-masks has none for these sets.
        UsageError: No training image is left.
    """
    train_sets: Sequence[MappedDataset | PseudoMaskDataset | SoftLabelDataset]
    train_sets, eval_sets = _with_masks(training, class_names, config.pseudo_masks), _mapped(evaluation, class_names)
    if config.soft_labels is not None:
        train_sets = _with_soft_labels(train_sets, training, config.soft_labels)
    leaks: set[tuple[str, str]] = set()
    if config.drop_leaks:
        # Swapped: `find_leaks` lists every shared image of its second argument, here the training images.
        leaks = {(leak.titles[1], leak.evaluation) for leak in find_leaks(eval_sets, train_sets)}
    elif not config.allow_leaks:
        refuse_leaks(train_sets, eval_sets)
    weights = np.asarray([item.source.sample_weight for item in training])
    return TrainData(train_sets, eval_sets, _make_sampler(train_sets, weights, leaks, config), len(leaks))


def resolve_epochs(config: TrainConfig, sampler: EpochSampler) -> TrainConfig:
    """The config with the steps of its epochs; the last epoch is completed, so the steps are rounded up."""
    if config.epochs is None:
        return config
    steps = config.epochs * sampler.images_per_epoch / config.batch
    return replace(config, steps=max(1, math.ceil(round(steps, 6))))


def _mapped(opened: Sequence[OpenedSet], class_names: tuple[str, ...]) -> list[MappedDataset]:
    return [
        map_classes(item.dataset, class_names, annotated=item.source.annotated, ignore=item.source.ignore)
        for item in opened
    ]


def _with_masks(
    opened: Sequence[OpenedSet], class_names: tuple[str, ...], folder: Path | None
) -> list[MappedDataset] | list[PseudoMaskDataset]:
    """The mapped sets, with pseudo-masks if there is a folder of them."""
    mapped = _mapped(opened, class_names)
    if folder is None:
        return mapped
    datasets = [with_pseudo_masks(dataset, item.source, folder) for dataset, item in zip(mapped, opened, strict=True)]
    if not any(dataset.folder.is_dir() for dataset in datasets):
        expected = ", ".join(sorted(dataset.folder.name for dataset in datasets))
        raise DataError(f"--pseudo-masks {folder}: expected at least one of the folders {expected}, got none of them")
    return datasets


def _with_soft_labels(
    datasets: Sequence[MappedDataset | PseudoMaskDataset], opened: Sequence[OpenedSet], folder: Path
) -> list[SoftLabelDataset]:
    """The sets with the soft labels in a folder."""
    softened = [with_soft_labels(dataset, item.source, folder) for dataset, item in zip(datasets, opened, strict=True)]
    if not any(dataset.folder.is_dir() for dataset in softened):
        expected = ", ".join(sorted(dataset.folder.name for dataset in softened))
        raise DataError(f"--soft-labels {folder}: expected at least one of the folders {expected}, got none of them")
    return softened


def _make_sampler(
    datasets: Sequence[Dataset],
    weights: NDArray[np.float64],
    left_out: Collection[tuple[str, str]],
    config: TrainConfig,
) -> EpochSampler:
    entries = list_entries(datasets, config.holdout, left_out)
    if not len(entries):
        raise UsageError("--data: expected at least one image to train on, got none; check --data and --holdout")
    frequencies = weights[entries[:, 0]]
    if config.repeat_threshold is not None:
        frequencies = frequencies * entry_repeat_factors(datasets, entries, config.repeat_threshold)
    return EpochSampler(entries, frequencies, config.seed)


def entry_repeat_factors(
    datasets: Sequence[Dataset], entries: NDArray[np.int64], threshold: float
) -> NDArray[np.float64]:
    """(N,) repeat factors of the entries (N, 2); images with and without a mask are counted separately."""
    offsets = np.cumsum([0, *(len(dataset) for dataset in datasets)])
    occurrence = np.concatenate([class_occurrence(dataset) for dataset in datasets])
    occurrence = occurrence[offsets[entries[:, 0]] + entries[:, 1]]  # (N, K)
    has_mask = np.array([datasets[number][index].mask is not None for number, index in entries])
    factors = np.ones(len(entries))
    for selected in (has_mask, ~has_mask):
        if selected.any():
            factors[selected] = repeat_factors(occurrence[selected], threshold)
    return factors
