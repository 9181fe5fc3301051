"""Open the datasets that flags of a command name."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from blitznet.cli.console import notify
from blitznet.core.errors import UsageError

if TYPE_CHECKING:
    from blitznet.data.detect import Purpose
    from blitznet.data.mapping import MappedDataset
    from blitznet.data.sources import DatasetSource


def open_datasets(
    texts: Sequence[str], class_names: tuple[str, ...] | None, *, purpose: "Purpose" = "eval"
) -> "list[MappedDataset]":
    """Open the datasets of dataset strings, and print which of their classes are unknown or ignored.

    Args:
        texts: Dataset strings.
        class_names: The model's class names; None keeps each dataset's own.
        purpose: Which splits of paths without a format are opened.

    Raises:
        UsageError: There is no dataset string, or a duplicate.
        DataError: A dataset cannot be opened.
    """
    from blitznet.data.dataset import IndexedDataset
    from blitznet.data.notices import dataset_notices
    from blitznet.data.sources import describe_sources, expand_sources, open_mapped

    require_datasets(texts)
    duplicates = [text for text, count in Counter(texts).items() if count > 1]
    if duplicates:
        raise UsageError(f"{duplicates[0]}: expected each dataset once, got it twice; remove one")
    sources = expand_sources(texts, purpose)
    for line in describe_sources(sources):
        notify(line)
    if class_names is None:
        return [_open_with_own_classes(source) for source in sources]
    datasets = [open_mapped(source, class_names) for source in sources]
    for dataset in datasets:
        if isinstance(dataset.dataset, IndexedDataset):
            for line in dataset_notices(dataset.dataset):
                notify(line)
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


def expand_all(texts: Sequence[str]) -> "list[str | DatasetSource]":
    """The datasets of a command that reads all splits; prints what was recognized at paths without a format.

    Args:
        texts: Dataset strings.

    Returns:
        Parsed datasets; a text that cannot be parsed stays, so that the command can report it with other errors.
    """
    from blitznet.core.errors import BlitzNetError
    from blitznet.data.sources import describe_sources, expand_source

    datasets: list[str | DatasetSource] = []
    for text in texts:
        try:
            sources = expand_source(text, "all")
        except BlitzNetError:
            datasets.append(text)
            continue
        datasets += sources
        for line in describe_sources(sources):
            notify(line)
    return datasets


def _open_with_own_classes(source: "DatasetSource") -> "MappedDataset":
    from blitznet.data.dataset import require_no_errors
    from blitznet.data.mapping import map_classes
    from blitznet.data.sources import open_dataset

    dataset = open_dataset(source)
    require_no_errors(dataset)
    return map_classes(dataset, dataset.class_names, annotated=source.annotated, ignore=source.ignore)
