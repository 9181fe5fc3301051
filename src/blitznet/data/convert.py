"""A data set of one format written in another, and what would be lost on the way, said before anything is."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from blitznet.core.errors import DataError, UsageError
from blitznet.data.dataset import IndexedDataset, require_no_errors
from blitznet.data.writers.coco import CocoWriter
from blitznet.data.writers.folder import FolderWriter
from blitznet.data.writers.voc import VocWriter
from blitznet.data.writers.writer import Writer, flat
from blitznet.data.writers.yolo import YoloWriter

Watch = Callable[[int, int], None]
"""called after every image with how many are done, and of how many"""


class _Makes(Protocol):
    def __call__(self, root: Path, split: str, names: tuple[str, ...], *, link: bool = ...) -> Writer: ...


WRITERS: dict[str, _Makes] = {"coco": CocoWriter, "voc": VocWriter, "yolo": YoloWriter, "folder": FolderWriter}
"""the formats that can be written, as they are called in FORMAT:ROOT@SPLIT"""


def losses(dataset: IndexedDataset, writer: Writer) -> Counter[str]:
    """What the writer's format cannot hold of a set: of how many images, by what it is."""
    return Counter(loss for index in range(len(dataset)) for loss in writer.losses(dataset[index]))


def convert(
    dataset: IndexedDataset,
    to: str,
    out: Path,
    split: str,
    *,
    lossy: bool = False,
    link: bool = False,
    watch: Watch | None = None,
) -> Counter[str]:
    """Write a set as one of the `to` formats; gives what was lost, by how many images, nothing unless `lossy`.

    Images are copied as they are, or with `link` linked to. Raises DataError where annotations cannot be read, where
    something would be lost, and where two images would have one name; UsageError where nothing can be written.
    """
    require_no_errors(dataset)
    if to not in WRITERS:
        raise UsageError(f"'{to}': expected a format of {', '.join(WRITERS)}")
    _require_names(dataset, to)
    writer = WRITERS[to](out, split, dataset.class_names, link=link)
    lost = losses(dataset, writer)
    if lost and not lossy:
        told = "; ".join(f"{loss} ({count:,} images)" for loss, count in lost.most_common())
        raise DataError(f"{dataset.title}: {to} would lose {told}; give --lossy to leave that out")
    for index in range(len(dataset)):
        writer.add(dataset[index], Path(dataset.images[index]))
        if watch is not None:
            watch(index + 1, len(dataset))
    writer.close()
    return lost


def _require_names(dataset: IndexedDataset, to: str) -> None:
    names = [flat(name) for name in dataset.ids] if to == "voc" else list(dataset.ids)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{dataset.title}: {len(twice)} images would have the name of another, first '{twice[0]}'")
