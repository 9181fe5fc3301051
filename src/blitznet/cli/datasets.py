"""Open the datasets that flags of a command name."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from blitznet.cli.console import notify
from blitznet.core.errors import UsageError

if TYPE_CHECKING:
    from blitznet.data.mapping import MappedDataset


def open_datasets(texts: Sequence[str], class_names: tuple[str, ...] | None) -> "list[MappedDataset]":
    """Open the datasets of dataset strings, and print which of their classes are unknown or ignored.

    Args:
        texts: Dataset strings.
        class_names: The model's class names; None keeps each dataset's own.

    Raises:
        UsageError: There is no dataset string, or a duplicate.
        DataError: A dataset cannot be opened.
    """
    from blitznet.data.sources import open_sources

    require_datasets(texts)
    duplicates = [text for text, count in Counter(texts).items() if count > 1]
    if duplicates:
        raise UsageError(f"{duplicates[0]}: expected each dataset once, got it twice; remove one")
    if class_names is None:
        return [_open_with_own_classes(text) for text in texts]
    datasets = open_sources(texts, class_names)
    for dataset in datasets:
        if dataset.unmapped:
            notify(f"{dataset.title}: classes unknown to the model, used as background: {', '.join(dataset.unmapped)}")
        if dataset.ignored:
            notify(f"{dataset.title}: ignored classes: {', '.join(dataset.ignored)}")
    return datasets


def require_datasets(texts: Sequence[str]) -> None:
    """Raise UsageError for a command without datasets."""
    from blitznet.data.sources import EXAMPLE

    if not texts:
        raise UsageError(f"expected at least one dataset, got none; for example {EXAMPLE}")


def _open_with_own_classes(text: str) -> "MappedDataset":
    from blitznet.data.dataset import require_no_errors
    from blitznet.data.mapping import map_classes
    from blitznet.data.sources import open_dataset, parse_source

    source = parse_source(text)
    dataset = open_dataset(source)
    require_no_errors(dataset)
    return map_classes(dataset, dataset.class_names, annotated=source.annotated, ignore=source.ignore)
