"""Augmentations of several images: which images a mosaic combines, and which objects are pasted.

`MixPool` lists both once for a run. What a training sample becomes is a function of its random generator, so it does
not depend on workers or on interruptions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from blitznet.core.sample import Dataset, Sample, Subset
from blitznet.data.augment import Policy, augment
from blitznet.data.color_jitter import draw_color_steps
from blitznet.data.copy_paste import cut_out, paste, pasteable_objects
from blitznet.data.image_cache import CachedDataset
from blitznet.data.mosaic import NUM_IMAGES, annotation_key, mosaic
from blitznet.data.pseudo import PseudoMaskDataset
from blitznet.data.soft_labels import SoftLabelDataset
from blitznet.data.train_sample import TrainSample

MAX_PASTED = 3
"""largest number of objects that are pasted onto an image"""


@dataclass(frozen=True, slots=True)
class MixPolicy:
    """Probabilities of the augmentations of several images."""

    mosaic: float = 0.0
    """probability that an image becomes a mosaic of four"""
    copy_paste: float = 0.0
    """probability that objects are pasted onto an image"""


@dataclass(frozen=True, slots=True, eq=False)
class MixPool:
    """The images and objects of a run; made by `make_mix_pool`."""

    entries: NDArray[np.int64]
    """(N, 2) dataset and index of each image"""
    groups: dict[tuple[bytes, bytes], NDArray[np.int64]]
    """rows of `entries` with the same annotated classes, by their `annotation_key`"""
    cumulative: dict[tuple[bytes, bytes], NDArray[np.float64]]
    """running sum of the frequencies of each group"""
    objects: tuple[NDArray[np.int64], ...]
    """for each class with objects to paste (n, 3): dataset, index and number of the object"""
    class_probabilities: NDArray[np.float64]
    """of each of these classes"""

    def draw_partners(self, sample: Sample, rng: np.random.Generator) -> list[tuple[int, int]]:
        """Dataset and index of the other images of a mosaic; frequent images are drawn more often."""
        key = annotation_key(sample)
        if key not in self.groups:
            return []
        cumulative = self.cumulative[key]
        positions = np.searchsorted(cumulative, rng.random(NUM_IMAGES - 1) * cumulative[-1], side="right")
        rows = self.groups[key][np.minimum(positions, len(cumulative) - 1)]
        return [(int(dataset), int(index)) for dataset, index in self.entries[rows]]

    def draw_objects(self, rng: np.random.Generator) -> list[tuple[int, int, int]]:
        """Dataset, index and number of one to MAX_PASTED objects; each class equally often per image that has it."""
        if not self.objects:
            return []
        drawn = []
        for class_number in rng.choice(len(self.objects), rng.integers(1, MAX_PASTED + 1), p=self.class_probabilities):
            rows = self.objects[class_number]
            dataset, index, number = rows[rng.integers(len(rows))]
            drawn.append((int(dataset), int(index), int(number)))
        return drawn


def make_mix_pool(datasets: Sequence[Dataset], entries: NDArray[np.int64], frequencies: NDArray[np.float64]) -> MixPool:
    """List the images that mosaics combine, and the objects to paste. No image and no mask is read.

    Args:
        datasets: The training sets.
        entries: (N, 2) dataset and index of the training images.
        frequencies: (N,) how often each occurs in an epoch.
    """
    groups: dict[tuple[bytes, bytes], list[int]] = {}
    objects: dict[int, list[tuple[int, int, int]]] = {}
    num_images: dict[int, int] = {}
    annotated = [without_predictions(dataset) for dataset in datasets]
    for row, (dataset, index) in enumerate(entries.tolist()):
        groups.setdefault(annotation_key(datasets[dataset][index]), []).append(row)
        sample = annotated[dataset][index]
        for label in np.unique(sample.labels[~sample.crowd]).tolist():
            num_images[label] = num_images.get(label, 0) + 1
        for number in np.flatnonzero(pasteable_objects(sample)).tolist():
            objects.setdefault(int(sample.labels[number]), []).append((dataset, index, number))
    labels = sorted(objects)
    weights = np.asarray([1 / num_images[label] for label in labels], np.float64)
    return MixPool(
        entries=entries,
        groups={key: np.asarray(rows) for key, rows in groups.items()},
        cumulative={key: np.cumsum(frequencies[rows]) for key, rows in groups.items()},
        objects=tuple(np.asarray(objects[label]) for label in labels),
        class_probabilities=weights / max(float(weights.sum()), 1e-12),
    )


def without_predictions(dataset: Dataset) -> Dataset:
    """The dataset without the pseudo-masks and soft labels of a teacher, which do not tell objects apart."""
    if isinstance(dataset, (PseudoMaskDataset, SoftLabelDataset)):
        return without_predictions(dataset.dataset)
    if isinstance(dataset, (Subset, CachedDataset)):
        return replace(dataset, dataset=without_predictions(dataset.dataset))
    return dataset


def mix(
    datasets: Sequence[Dataset],
    dataset: int,
    index: int,
    rng: np.random.Generator,
    policy: Policy,
    *,
    pool: MixPool | None = None,
    mix_policy: MixPolicy | None = None,
    size: tuple[int, int],
    map_size: tuple[int, int],
    soft_size: tuple[int, int] | None = None,
) -> TrainSample:
    """Augment an image, alone or with others.

    Args:
        datasets: The training sets.
        dataset: Number of the image's set.
        index: Index of the image in its set.
        rng: Source of all randomness.
        policy: Transforms of every image.
        pool: What is combined and pasted; None for no such augmentation.
        mix_policy: Probabilities of mosaic and copy-paste.
        size: (h, w) of the image.
        map_size: (mh, mw) of the class map.
        soft_size: (h, w) of the soft labels; that of the class map by default.

    Raises:
        DataError: An image or a mask cannot be read.
    """
    sample, mix_policy = datasets[dataset][index], mix_policy or MixPolicy()
    partners: list[tuple[int, int]] = []
    if pool is not None and mix_policy.mosaic > 0 and rng.random() < mix_policy.mosaic:
        partners = pool.draw_partners(sample, rng)
    if partners:
        samples = [sample, *(datasets[number][row] for number, row in partners)]
        mixed = mosaic(samples, rng, policy, size=size, map_size=map_size, soft_size=soft_size)
    else:
        mixed = augment(sample, rng, policy, size=size, map_size=map_size, soft_size=soft_size)
    if pool is not None and mix_policy.copy_paste > 0 and rng.random() < mix_policy.copy_paste:
        for source, row, number in pool.draw_objects(rng):
            steps = draw_color_steps(policy.color, rng)
            instance = cut_out(without_predictions(datasets[source])[row], number)
            if instance is not None:
                mixed = paste(mixed, instance, rng, steps)
    return mixed
