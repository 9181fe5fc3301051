"""Split a dataset without an evaluation split, by a hash of its images; copies of one image stay together."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource
from blitznet.core.sample import MaskSource, Sample
from blitznet.data.dataset import AnnotationArrays, IndexedDataset
from blitznet.data.hash_split import in_hash_fraction
from blitznet.data.leaks import find_duplicates, list_images

PartName = Literal["train", "val"]
_COPY_SUFFIX = re.compile(r"\.rf\.[0-9A-Za-z_-]+$")
"""what Roboflow appends to the names of augmented copies of an image"""


@dataclass(frozen=True, eq=False)
class PartOfDataset(IndexedDataset):
    """Some samples of an IndexedDataset; made by `select_part`."""

    dataset: IndexedDataset
    indices: tuple[int, ...]

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[self.indices[index]]

    def image_source(self, index: int) -> ImageSource:
        """The image of one sample."""
        return self.dataset.image_source(self.indices[index])

    def _mask(self, index: int, image: ImageSource) -> MaskSource | None:
        return self.dataset._mask(self.indices[index], image)


def select_part(dataset: IndexedDataset, part: PartName, fraction: float) -> PartOfDataset:
    """The training or the evaluation part of a dataset.

    A group of copies is in the evaluation part if the hash of its name is in the fraction. Copies are files with the
    same bytes, and names that differ only in the hash that Roboflow appends. If the hash selects nothing or
    everything, one group moves to the other part.

    Args:
        dataset: The whole dataset.
        part: train or val.
        fraction: Fraction of the groups in the evaluation part, 0 to 1.

    Raises:
        DataError: There is one image only, or copies of one.
    """
    keys = group_keys(dataset)
    if len(set(keys)) < 2:
        raise DataError(
            f"{dataset.title}: expected two images or more that are no copies to split, got {len(set(keys))}"
        )
    groups = sorted(set(keys), key=lambda key: (not in_hash_fraction(key, fraction), key))
    evaluation = {key for key in groups if in_hash_fraction(key, fraction)}
    if not evaluation:
        evaluation = {groups[0]}
    if len(evaluation) == len(groups):
        evaluation.remove(groups[-1])
    return subset(dataset, [index for index, key in enumerate(keys) if (key in evaluation) == (part == "val")])


def group_keys(dataset: IndexedDataset) -> tuple[str, ...]:
    """Name of the group of copies of each sample."""
    keys = {sample_id: _COPY_SUFFIX.sub("", sample_id) for sample_id in dataset.ids}
    merged: dict[str, str] = {}
    for first, second in find_duplicates(list(list_images(dataset))):
        groups = sorted({_last(merged, keys[entry.id]) for entry in (first, second)})
        if len(groups) == 2:
            merged[groups[1]] = groups[0]
    return tuple(_last(merged, keys[sample_id]) for sample_id in dataset.ids)


def _last(merged: dict[str, str], group: str) -> str:
    """The group that a group was merged into."""
    while group in merged:
        group = merged[group]
    return group


def subset(dataset: IndexedDataset, indices: Sequence[int]) -> PartOfDataset:
    """The samples of a dataset at `indices`, in that order."""
    positions = {index: position for position, index in enumerate(indices)}
    annotations = dataset.annotations
    if annotations is not None:
        slices = [annotations.image_slice(index) for index in indices]
        rows = np.concatenate([np.arange(s.start, s.stop) for s in slices] or [np.zeros(0, np.int64)]).astype(np.int64)
        annotations = AnnotationArrays(
            offsets=np.cumsum([0, *(s.stop - s.start for s in slices)], dtype=np.int64),
            boxes=annotations.boxes[rows],
            labels=annotations.labels[rows],
            difficult=annotations.difficult[rows],
            crowd=annotations.crowd[rows],
        )
    sizes = dataset.declared_sizes
    return PartOfDataset(
        title=dataset.title,
        class_names=dataset.class_names,
        ids=tuple(dataset.ids[index] for index in indices),
        image_paths=tuple(dataset.image_paths[index] for index in indices),
        annotations=annotations,
        errors={positions[index]: error for index, error in dataset.errors.items() if index in positions},
        unlabeled=frozenset(positions[index] for index in dataset.unlabeled if index in positions),
        assumed_empty=frozenset(positions[index] for index in dataset.assumed_empty if index in positions),
        incomplete={positions[index]: labels for index, labels in dataset.incomplete.items() if index in positions},
        label_places=dataset.label_places,
        remarks=dataset.remarks,
        declared_sizes=None if sizes is None else sizes[list(indices)],
        dataset=dataset,
        indices=tuple(indices),
    )
