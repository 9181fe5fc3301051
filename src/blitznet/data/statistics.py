"""How often each class occurs in a set: for repeat-factor sampling and for reports."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import IGNORE_INDEX, Flags
from blitznet.core.sample import Sample
from blitznet.data.dataset import Dataset


@dataclass(frozen=True, slots=True, eq=False)
class ClassCounts:
    """Occurrence of each class in a set."""

    images: NDArray[np.int64]
    """(K,) images with the class, in boxes or, where none were annotated, in the mask"""
    objects: NDArray[np.int64]
    """(K,) boxes"""


def class_presence(dataset: Dataset) -> NDArray[np.bool_]:
    """(N, K) which classes each image shows.

    From the boxes, without decoding anything; only where a sample has no boxes annotated its mask is read.
    """
    rows = [sample_presence(dataset[index], len(dataset.class_names)) for index in range(len(dataset))]
    return np.asarray(rows, np.bool_).reshape(len(dataset), len(dataset.class_names))


def count_classes(dataset: Dataset) -> ClassCounts:
    """Images and objects of each class."""
    objects = np.zeros(len(dataset.class_names), np.int64)
    rows = np.zeros(len(dataset.class_names), np.int64)
    for index in range(len(dataset)):
        sample = dataset[index]
        rows += sample_presence(sample, len(dataset.class_names))
        objects += np.bincount(sample.labels[~sample.crowd], minlength=len(dataset.class_names))
    return ClassCounts(images=rows, objects=objects)


def sample_presence(sample: Sample, classes: int) -> Flags:
    """(K,) which classes one image shows; crowds do not count."""
    present = np.zeros(classes, np.bool_)
    if sample.annotated_box_classes.any() or sample.mask is None:
        present[sample.labels[~sample.crowd]] = True
        return present
    values = np.bincount(sample.mask.read().ravel(), minlength=IGNORE_INDEX + 1)
    return np.asarray(values[1 : classes + 1] > 0, np.bool_)
