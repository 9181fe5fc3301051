"""Convert a dataset to another format, after reporting what that format cannot represent."""

import filecmp
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Protocol

from blitznet.core.errors import DataError, UsageError, shown
from blitznet.core.files import translate_write_errors
from blitznet.core.progress import Progress, no_progress
from blitznet.core.sample import Sample
from blitznet.core.written_files import record_moves, require_replaceable
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
_ADVICE = "choose another --split or --out"


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
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> Counter[str]:
    """Write a dataset in another format; images are copied unchanged. After an error nothing is written.

    Args:
        dataset: The dataset under its own class names.
        to: A key of `DATASET_WRITERS`.
        out: Folder of the new dataset; it may contain other splits.
        split: Name of the split to write.
        lossy: Write even if the format cannot represent everything.
        link: Link to the images instead of copying them.
        overwrite: Replace files that the package did not write.
        progress: Called after each image.

    Returns:
        What was lost, with the number of images concerned; empty unless `lossy`.

    Raises:
        DataError: Annotations cannot be parsed, something would be lost, nothing would be left, or two images would
            have the same name.
        UsageError: The format is unknown, the split is no name of a file, the folder cannot be written, or a file that
            the package did not write would be replaced.
    """
    require_no_errors(dataset)
    if to not in DATASET_WRITERS:
        raise UsageError(f"format: expected one of {', '.join(DATASET_WRITERS)}, got '{to}'")
    if not re.fullmatch(r"[^\s./\\][^/\\]*", split) or not split.isprintable():
        raise UsageError(f"--split {shown(split)}: expected a name without slashes, whose first character is no dot")
    _require_unique_names(dataset, to)
    writer = DATASET_WRITERS[to](out, split, dataset.class_names, link=link)
    lost = count_unsupported(dataset, writer)
    if lost and not lossy:
        listed = "; ".join(f"{item} ({count:,} images)" for item, count in lost.most_common())
        raise DataError(f"{dataset.title}: {to} would lose {listed}; pass --lossy to drop them")
    if not any(_holds_annotations(dataset[index], to) for index in range(len(dataset))):
        kinds = {"voc": "boxes or masks", "folder": "masks"}.get(to, "boxes")
        raise DataError(f"{dataset.title}: expected {kinds} in some image, got none; {to} could hold nothing of it")
    lists = [out / name for name in writer.lists()]
    require_replaceable(lists, overwrite=overwrite, advice=_ADVICE)  # before the images are copied
    with _staging_folder(out) as folder:
        writer.folder = folder
        for index in range(len(dataset)):
            sample = dataset[index]
            with _image_file(sample, dataset.image_paths[index], link=link) as image:
                writer.add(sample, image)
            progress(dataset.title, index + 1, len(dataset))
        writer.close()
        _move_all(folder, out, last=lists, overwrite=overwrite)
    return lost


def _holds_annotations(sample: Sample, to: str) -> bool:
    """Whether a format holds annotations of a sample: a set without any could not be read, or would be all empty."""
    has_boxes, has_mask = bool(sample.annotated_box_classes.any()), sample.mask is not None
    return {"voc": has_boxes or has_mask, "folder": has_mask}.get(to, has_boxes)


@contextmanager
def _image_file(sample: Sample, path: str, *, link: bool) -> Iterator[Path]:
    """The image as a file; that of an image in memory, such as from a Parquet or JSON file, is temporary."""
    content = sample.image.source
    if not isinstance(content, bytes):
        yield Path(path)
        return
    if link:
        raise UsageError(f"{path}: expected image files to link to, got images inside a data file; leave --link out")
    with TemporaryDirectory() as folder:
        image = Path(folder, f"image{sample.image.suffix()}")
        image.write_bytes(content)
        yield image


@contextmanager
def _staging_folder(out: Path) -> Iterator[Path]:
    """A new folder inside `out`, on the same disk; it is deleted at the end."""
    folder, is_new = out / f".blitznet.{token_hex(4)}", not out.exists()
    with translate_write_errors(out):
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if is_new:
            with suppress(OSError):
                out.rmdir()  # if nothing was written


def _move_all(folder: Path, out: Path, *, last: Sequence[Path], overwrite: bool) -> None:
    """Move the files of a folder into another, those that list the split at last, unless one would be lost."""
    moves = {out / path.relative_to(folder): path for path in sorted(folder.rglob("*")) if not _is_folder(path)}
    moves = {target: path for target, path in moves.items() if not _equal_files(path, target)}
    require_replaceable(moves, overwrite=overwrite, advice=_ADVICE)
    record_moves(moves)
    for target in sorted(moves, key=lambda path: path in last):
        with translate_write_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            moves[target].replace(target)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _equal_files(path: Path, target: Path) -> bool:
    """Whether an existing file has the same content, so that nothing is lost."""
    if path.is_symlink() or target.is_symlink() or not target.is_file():
        return False
    return filecmp.cmp(path, target, shallow=False)


def _require_unique_names(dataset: IndexedDataset, to: str) -> None:
    names = [flat_name(name) for name in dataset.ids] if to == "voc" else list(dataset.ids)
    duplicates = [name for name, count in Counter(names).items() if count > 1]
    if duplicates:
        raise DataError(
            f"{dataset.title}: expected unique image names, got {len(duplicates)} duplicates, first '{duplicates[0]}'; "
            "rename the images"
        )
