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
from blitznet.data.coverage import Coverage, measure_coverage, no_objects_error, require_objects
from blitznet.data.dataset import IndexedDataset, require_no_errors
from blitznet.data.image_check import find_image_problems, require_images, size_notices
from blitznet.data.leaks import find_leaks, refuse_leaks
from blitznet.data.mapping import MappedDataset, map_classes
from blitznet.data.notices import dataset_notices
from blitznet.data.pseudo import PseudoMaskDataset, with_pseudo_masks
from blitznet.data.soft_labels import SoftLabelDataset, with_soft_labels
from blitznet.data.sources import DatasetSource, describe_sources, existing_images, open_dataset, parse_source
from blitznet.data.statistics import class_occurrence
from blitznet.train.config import TrainConfig
from blitznet.train.sampler import EpochSampler, list_entries, repeat_factors


@dataclass(frozen=True, slots=True)
class OpenedSet:
    """An opened dataset under its own class names."""

    source: DatasetSource
    dataset: IndexedDataset


@dataclass(frozen=True, slots=True, eq=False)
class TrainData:
    """The datasets of a run under the trained classes."""

    training: Sequence[MappedDataset | PseudoMaskDataset | SoftLabelDataset]
    evaluation: list[MappedDataset]
    sampler: EpochSampler
    """sampler of the training images"""
    num_leaks: int
    """training images that are left out because evaluation sets contain them"""


@dataclass(frozen=True, slots=True, eq=False)
class DataSummary:
    """What is known about the datasets of a run before its first step."""

    coverage: Coverage
    """of the images to train on, under the trained classes"""
    notices: tuple[str, ...]
    """what the user should know, one line each"""


def open_all(sources: Sequence[str | DatasetSource]) -> list[OpenedSet]:
    """Open datasets under their own class names.

    Args:
        sources: Dataset strings FORMAT:ROOT@SPLIT,option=value, or parsed ones.

    Raises:
        DataError: A set does not exist, or has annotations that cannot be read.
    """
    parsed = [source if isinstance(source, DatasetSource) else parse_source(source) for source in sources]
    opened = [OpenedSet(source, open_dataset(source)) for source in parsed]
    for item in opened:
        require_no_errors(item.dataset)
    return [replace(item, dataset=existing_images(item.dataset, item.source)) for item in opened]


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

    Images without a label are not sampled, unless there are pseudo-masks or soft labels.

    Raises:
        DataError: Training and evaluation sets share images and the config neither drops nor allows them, or the
            folder of pseudo-masks has none for these sets.
        UsageError: No training image is left, or none has a label.
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
    unlabeled: set[tuple[str, str]] = set()
    if config.pseudo_masks is None and config.soft_labels is None:
        unlabeled = _unlabeled_images(training)
        if len(unlabeled) == sum(len(item.dataset) for item in training):
            raise no_objects_error([item.source.title for item in training], _label_places(training))
    weights = np.asarray([item.source.sample_weight for item in training])
    sampler = _make_sampler(train_sets, weights, leaks | unlabeled, config)
    return TrainData(train_sets, eval_sets, sampler, len(leaks))


def check_data(training: Sequence[OpenedSet], evaluation: Sequence[OpenedSet], data: TrainData) -> DataSummary:
    """Check the files of all sets, and count what the training images annotate.

    Raises:
        DataError: Images are missing, broken or turned after annotation; or masks are broken or have no class.
        UsageError: No object of any class is annotated.
    """
    entries = data.sampler.entries
    indices = [entries[entries[:, 0] == number, 1].tolist() for number in range(len(training))]
    notices = describe_sources(item.source for item in (*training, *evaluation))
    rows = [*indices, *(range(len(item.dataset)) for item in evaluation)]
    for item, selected in zip((*training, *evaluation), rows, strict=True):
        title = item.source.title
        problems = find_image_problems(item.dataset, selected)
        require_images(problems, title, len(selected))
        notices += [*size_notices(problems, title), *dataset_notices(item.dataset)]
    coverage = measure_coverage(data.training, indices)
    require_objects(coverage, _label_places(training))
    return DataSummary(coverage, tuple(dict.fromkeys(notices)))


def _label_places(opened: Sequence[OpenedSet]) -> list[str]:
    """Where labels were searched."""
    return [folder for item in opened for folder in item.dataset.label_places]


def _unlabeled_images(opened: Sequence[OpenedSet]) -> set[tuple[str, str]]:
    """Title and id of the images without a label: nothing can be learned from them."""
    return {
        (item.dataset.title, item.dataset.ids[index]) for item in opened for index in sorted(item.dataset.unlabeled)
    }


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
