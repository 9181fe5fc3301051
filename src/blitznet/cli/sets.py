"""Data sets as the flags name them, opened for a command that works on several."""

import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from blitznet.core.errors import UsageError

if TYPE_CHECKING:
    from blitznet.data.mapping import MappedDataset


def open_sets(texts: Sequence[str], classes: tuple[str, ...] | None) -> "list[MappedDataset]":
    """The sets under `classes`, or each under its own; names that are none of them are told on stderr.

    Raises UsageError where there is no set, or one is named twice; DataError where one cannot be opened.
    """
    from blitznet.data.sources import EXAMPLE, open_sources

    if not texts:
        raise UsageError(f"expected at least one data set, for example {EXAMPLE}")
    twice = [text for text, count in Counter(texts).items() if count > 1]
    if twice:
        raise UsageError(f"{twice[0]}: the same data set is given twice; name each once")
    if classes is None:
        return [_under_own_names(text) for text in texts]
    datasets = open_sources(texts, classes)
    for dataset in datasets:
        _tell(dataset.title, dataset.unmapped, "names unknown to the model, taken as background")
        _tell(dataset.title, dataset.void, "names that count for nothing")
    return datasets


def _under_own_names(text: str) -> "MappedDataset":
    from blitznet.data.dataset import require_no_errors
    from blitznet.data.mapping import map_classes
    from blitznet.data.sources import open_dataset, parse_source

    source = parse_source(text)
    dataset = open_dataset(source)
    require_no_errors(dataset)
    return map_classes(dataset, dataset.class_names, annotated=source.classes, void=source.void)


def _tell(title: str, names: tuple[str, ...], what: str) -> None:
    if names:
        print(f"{title}: {what}: {', '.join(names)}", file=sys.stderr)
