"""Map a dataset's own class names to the model's class names."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import IGNORE_INDEX, Flags
from blitznet.core.classes import canonical
from blitznet.core.errors import DataError
from blitznet.core.sample import ANY_CLASS, Dataset, Sample
from blitznet.data.masks import mask_value, remap_mask

_DROPPED, _IGNORED = -1, -2


@dataclass(frozen=True, eq=False)
class MappedDataset:
    """A Dataset under the model's class names; made by `map_classes`."""

    dataset: Dataset
    class_names: tuple[str, ...]
    """the model's (K,) class names"""
    unmapped: tuple[str, ...]
    """the dataset's class names that the model lacks; their objects are background"""
    ignored: tuple[str, ...]
    """the dataset's class names whose objects are ignored"""
    annotated: Flags
    """(K,) classes that this dataset annotates exhaustively"""
    label_map: NDArray[np.int64]
    """the dataset's label -> the model's label, -1 for dropped objects, -2 for ignored ones"""
    table: NDArray[np.uint8]
    """(V,) the dataset's mask value -> the model's mask value; 256 entries, or more if the dataset has more classes"""

    @property
    def title(self) -> str:
        """The dataset string as the user typed it, or the path."""
        return self.dataset.title

    @property
    def ids(self) -> Sequence[str]:
        """Id of each sample."""
        return self.dataset.ids

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        labels = np.where(sample.labels == ANY_CLASS, _IGNORED, self.label_map[sample.labels])
        # A box without area has no regression targets; `check_datasets` reports it. The place of its object is not
        # known, so the boxes of its class are not complete.
        has_area = (sample.boxes[:, 2:] > sample.boxes[:, :2]).all(-1)
        annotated_boxes = self._annotated(sample.annotated_box_classes)
        annotated_boxes[labels[~has_area & (labels >= 0)]] = False
        keep = (labels != _DROPPED) & has_area
        ignored = labels[keep] == _IGNORED
        mask = None if sample.mask is None else remap_mask(sample.mask, self.table)
        return Sample(
            id=sample.id,
            image=sample.image,
            boxes=sample.boxes[keep],
            labels=np.where(ignored, ANY_CLASS, labels[keep]),
            difficult=sample.difficult[keep],
            crowd=sample.crowd[keep] | ignored,
            annotated_box_classes=annotated_boxes,
            annotated_mask_classes=self._annotated(sample.annotated_mask_classes),
            mask=mask,
        )

    def _annotated(self, flags: Flags) -> Flags:
        """Map flags of the dataset's classes to flags of the model's classes."""
        mapped = np.zeros(len(self.class_names), np.bool_)
        mapped[self.label_map[flags & (self.label_map >= 0)]] = True
        return mapped & self.annotated


def map_classes(
    dataset: Dataset,
    class_names: tuple[str, ...],
    *,
    annotated: Iterable[str] | None = None,
    ignore: Iterable[str] = (),
) -> MappedDataset:
    """Map a dataset to the model's class names; names are compared after `core.classes.canonical`.

    Objects of classes that the model lacks become background.

    Args:
        dataset: The dataset under its own class names.
        class_names: The model's (K,) class names.
        annotated: The dataset's classes that are exhaustively annotated. Default: all of them.
        ignore: The dataset's classes to ignore: their pixels become 255, their boxes crowds of any class.

    Raises:
        DataError: An option names a class that the dataset lacks, or no class of the dataset is one of the model's.
    """
    ignored = _select_names(dataset, ignore, "ignore")
    selected = set(dataset.class_names) if annotated is None else _select_names(dataset, annotated, "annotated")
    labels = _label_map(dataset.class_names, class_names, ignored)
    if (labels == _DROPPED).all():
        raise DataError(
            f"{dataset.title}: expected a class of the model ({_first_names(class_names)}), "
            f"got {_first_names(dataset.class_names)}"
        )
    flags = np.zeros(len(class_names), np.bool_)
    flags[
        [label for name, label in zip(dataset.class_names, labels, strict=True) if label >= 0 and name in selected]
    ] = True
    return MappedDataset(
        dataset=dataset,
        class_names=class_names,
        unmapped=tuple(name for name, label in zip(dataset.class_names, labels, strict=True) if label == _DROPPED),
        ignored=tuple(name for name, label in zip(dataset.class_names, labels, strict=True) if label == _IGNORED),
        annotated=flags,
        label_map=labels,
        table=_value_table(labels),
    )


def _label_map(names: tuple[str, ...], class_names: tuple[str, ...], ignored: set[str]) -> NDArray[np.int64]:
    """The model's label of each of the dataset's names; an exact match takes precedence over a canonical one."""
    exact = {name: label for label, name in enumerate(class_names)}
    canonical_labels = {canonical(name): label for label, name in reversed(list(enumerate(class_names)))}
    return np.asarray(
        [
            _IGNORED if name in ignored else exact.get(name, canonical_labels.get(canonical(name), _DROPPED))
            for name in names
        ],
        np.int64,
    )


def _value_table(labels: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Mask values: 0 stays 0; unknown ones and 255 are ignored."""
    own_values = [mask_value(label) for label in range(len(labels))]
    table = np.full(max(256, own_values[-1] + 1), IGNORE_INDEX, np.uint8)
    table[0] = 0
    table[own_values] = np.where(labels == _IGNORED, IGNORE_INDEX, np.maximum(labels, -1) + 1)
    return table


def _select_names(dataset: Dataset, names: Iterable[str], option: str) -> set[str]:
    """The dataset's class names that an option names; an unknown name is refused, because it is likely a typo."""
    selected: set[str] = set()
    for name in names:
        matches = {name} & set(dataset.class_names) or {
            own for own in dataset.class_names if canonical(own) == canonical(name)
        }
        if not matches:
            raise DataError(
                f"{dataset.title}: {option}: expected classes of the dataset ({_first_names(dataset.class_names)}), "
                f"got {name}"
            )
        selected |= matches
    return selected


def _first_names(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
