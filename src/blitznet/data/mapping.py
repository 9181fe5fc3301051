"""A set's own names onto the model's classes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import IGNORE_INDEX, Flags
from blitznet.core.classes import canonical
from blitznet.core.errors import DataError
from blitznet.core.sample import ANY_CLASS, Sample
from blitznet.data.dataset import Dataset
from blitznet.data.masks import mask_value, remapped

_DROPPED, _VOIDED = -1, -2


@dataclass(frozen=True, eq=False)
class MappedDataset:
    """A Dataset under the model's names; made by `map_classes`."""

    base: Dataset
    class_names: tuple[str, ...]
    """the model's (K,) classes"""
    unmapped: tuple[str, ...]
    """the set's names that are none of the model's and count as background"""
    void: tuple[str, ...]
    """the set's names whose objects count for nothing"""
    annotated: Flags
    """(K,) the classes that this set annotates"""
    labels: NDArray[np.int64]
    """the set's label -> the model's, or a negative mark for dropped and void"""
    table: NDArray[np.uint8]
    """(V,) the set's mask value -> the model's; 256 of them, or more where the set has more names than a mask"""

    @property
    def title(self) -> str:
        """The set as the user typed it, or its path."""
        return self.base.title

    @property
    def ids(self) -> Sequence[str]:
        """One for each sample."""
        return self.base.ids

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, index: int) -> Sample:
        sample = self.base[index]
        labels = np.where(sample.labels == ANY_CLASS, _VOIDED, self.labels[sample.labels])
        # a box without area has no offsets to learn; `check` names it
        solid = (sample.boxes[:, 2:] > sample.boxes[:, :2]).all(-1)
        keep = (labels != _DROPPED) & solid
        void = labels[keep] == _VOIDED
        mask = None if sample.mask is None else remapped(sample.mask, self.table)
        return Sample(
            id=sample.id,
            image=sample.image,
            boxes=sample.boxes[keep],
            labels=np.where(void, ANY_CLASS, labels[keep]),
            difficult=sample.difficult[keep],
            crowd=sample.crowd[keep] | void,
            annotated_box_classes=self._flags(sample.annotated_box_classes),
            annotated_mask_classes=self._flags(sample.annotated_mask_classes),
            mask=mask,
        )

    def _flags(self, own: Flags) -> Flags:
        """Flags of the set's names to flags of the model's classes."""
        flags = np.zeros(len(self.class_names), np.bool_)
        flags[self.labels[own & (self.labels >= 0)]] = True
        return flags & self.annotated


def map_classes(
    dataset: Dataset,
    classes: tuple[str, ...],
    *,
    annotated: Iterable[str] | None = None,
    void: Iterable[str] = (),
) -> MappedDataset:
    """The set under the model's `classes`; names meet under `core.classes.canonical`.

    Objects of names that the model lacks are background, those of `void` count for nothing (pixels 255, boxes
    crowds). A sample annotates the model's classes that its set names, or only those in `annotated`.
    """
    voided = _chosen(dataset, void, "void")
    expected = set(dataset.class_names) if annotated is None else _chosen(dataset, annotated, "classes")
    labels = _labels(dataset.class_names, classes, voided)
    if (labels == _DROPPED).all():
        raise DataError(
            f"{dataset.title}: none of its classes ({_some(dataset.class_names)}) is one of the model's ({_some(classes)})"
        )
    flags = np.zeros(len(classes), np.bool_)
    flags[
        [label for name, label in zip(dataset.class_names, labels, strict=True) if label >= 0 and name in expected]
    ] = True
    return MappedDataset(
        base=dataset,
        class_names=classes,
        unmapped=tuple(name for name, label in zip(dataset.class_names, labels, strict=True) if label == _DROPPED),
        void=tuple(name for name, label in zip(dataset.class_names, labels, strict=True) if label == _VOIDED),
        annotated=flags,
        labels=labels,
        table=_table(labels),
    )


def _labels(names: tuple[str, ...], classes: tuple[str, ...], voided: set[str]) -> NDArray[np.int64]:
    """The model's label of each of the set's names; the same spelling goes before the same meaning."""
    exact = {name: label for label, name in enumerate(classes)}
    alike = {canonical(name): label for label, name in reversed(list(enumerate(classes)))}
    return np.asarray(
        [_VOIDED if name in voided else exact.get(name, alike.get(canonical(name), _DROPPED)) for name in names],
        np.int64,
    )


def _table(labels: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Mask values: 0 stays, unknown ones and 255 are void."""
    own = [mask_value(label) for label in range(len(labels))]
    table = np.full(max(256, own[-1] + 1), IGNORE_INDEX, np.uint8)
    table[0] = 0
    table[own] = np.where(labels == _VOIDED, IGNORE_INDEX, np.maximum(labels, -1) + 1)
    return table


def _chosen(dataset: Dataset, names: Iterable[str], option: str) -> set[str]:
    """Those of the set's names that an option means; refuses one that it lacks, lest a slip teach background."""
    chosen: set[str] = set()
    for name in names:
        found = {name} & set(dataset.class_names) or {
            own for own in dataset.class_names if canonical(own) == canonical(name)
        }
        if not found:
            raise DataError(
                f"{dataset.title}: {option}={name} is not one of its classes ({_some(dataset.class_names)})"
            )
        chosen |= found
    return chosen


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
