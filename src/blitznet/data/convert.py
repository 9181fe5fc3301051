"""Convert a dataset to another format, after reporting what that format cannot represent."""

from collections import Counter
from pathlib import Path
from typing import Protocol

from blitznet.core.errors import DataError, UsageError
from blitznet.core.progress import Progress, no_progress
from blitznet.data.dataset import IndexedDataset, require_no_errors
from blitznet.data.writers.coco import CocoWriter
from blitznet.data.writers.folder import FolderWriter
from blitznet.data.writers.voc import VocWriter
from blitznet.data.writers.writer import DatasetWriter, flat_name
from blitznet.data.writers.yolo import YoloWriter


class _WriterFactory(Protocol):
    def __call__(self, root: Path, split: str, class_names: tuple[str, ...], *, link: bool = ...) -> DatasetWriter: ...


DATASET_WRITERS: dict[str, _WriterFactory] = {
    "coco": CocoWriter,
    "voc": VocWriter,
    "yolo": YoloWriter,
    "folder": FolderWriter,
}
"""formats that can be written, by their names in dataset strings"""


def count_unsupported(dataset: IndexedDataset, writer: DatasetWriter) -> Counter[str]:
    """What the writer's format cannot represent, with the number of images concerned."""
    return Counter(item for index in range(len(dataset)) for item in writer.unsupported(dataset[index]))


def convert_dataset(
    dataset: IndexedDataset,
    to: str,
    out: Path,
    split: str,
    *,
    lossy: bool = False,
    link: bool = False,
    progress: Progress = no_progress,
) -> Counter[str]:
    """Write a dataset in another format; images are copied unchanged.

    Args:
        dataset: The dataset under its own class names.
        to: A key of `DATASET_WRITERS`.
        out: Folder of the new dataset; it may contain other splits.
        split: Name of the split to write.
        lossy: Write even if the format cannot represent everything.
        link: Link to the images instead of copying them.
        progress: Called after each image.

    Returns:
        What was lost, with the number of images concerned; empty unless `lossy`.

    Raises:
        DataError: Annotations cannot be parsed, something would be lost, or two images would have the same name.
        UsageError: The format is unknown, or the folder cannot be written.
    """
    require_no_errors(dataset)
    if to not in DATASET_WRITERS:
        raise UsageError(f"format: expected one of {', '.join(DATASET_WRITERS)}, got '{to}'")
    _require_unique_names(dataset, to)
    writer = DATASET_WRITERS[to](out, split, dataset.class_names, link=link)
    lost = count_unsupported(dataset, writer)
    if lost and not lossy:
        listed = "; ".join(f"{item} ({count:,} images)" for item, count in lost.most_common())
        raise DataError(f"{dataset.title}: {to} would lose {listed}; pass --lossy to drop them")
    for index in range(len(dataset)):
        writer.add(dataset[index], Path(dataset.image_paths[index]))
        progress(dataset.title, index + 1, len(dataset))
    writer.close()
    return lost


def _require_unique_names(dataset: IndexedDataset, to: str) -> None:
    names = [flat_name(name) for name in dataset.ids] if to == "voc" else list(dataset.ids)
    duplicates = [name for name, count in Counter(names).items() if count > 1]
    if duplicates:
        raise DataError(
            f"{dataset.title}: expected unique image names, got {len(duplicates)} duplicates, first '{duplicates[0]}'; "
            "rename the images"
        )
