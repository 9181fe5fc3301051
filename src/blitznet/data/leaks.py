"""Leaks: images that are in both the training and the evaluation sets. The clean protocol allows none."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from blitznet.core.errors import DataError
from blitznet.core.sample import Dataset

_VOC_ID = re.compile(r"20(0[789]|1[012])_\d{6}")
_VOC2007_ID = re.compile(r"\d{6}")
_COCO_ID = re.compile(r"(?:COCO_(?:train|val|test)20\d\d_)?(\d{12})")


@dataclass(frozen=True, slots=True)
class Leak:
    """One image in both a training and an evaluation set."""

    train: str
    """id of the image in the training set"""
    evaluation: str
    """id of the image in the evaluation set"""
    titles: tuple[str, str]
    """titles of the training and the evaluation set"""


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """An image of a dataset, without its pixels."""

    id: str
    path: Path | None
    """None for an image in memory"""
    key: str
    """equal for two files of one image; see `image_key`"""
    title: str
    """title of the dataset"""


def image_key(path: str | Path, image_id: str = "", dataset_format: str = "") -> str:
    """A key that is equal for two files of one image, derived from their names.

    VOC2012's `2007_000123` and `000123` in a folder VOC2007 are one image (all 632 such ids have equal boxes). A file
    name that is a VOC or COCO id means the same image in any format. Any other id means the same image in all datasets
    of one format, if that is VOC, SBD or COCO. YOLO datasets and mask folders often just number their files, so there
    only the same path is the same image.

    Args:
        path: The image file.
        image_id: The image's id in its dataset.
        dataset_format: The dataset's format, such as `voc`.
    """
    path = Path(path)
    if _VOC_ID.fullmatch(path.stem):
        return f"voc:{path.stem}"
    if _VOC2007_ID.fullmatch(path.stem) and "VOC2007" in path.parts:
        return f"voc:2007_{path.stem}"
    coco = _COCO_ID.fullmatch(path.stem)
    if coco:
        return f"coco:{coco[1]}"
    return (
        f"{dataset_format}:{image_id}" if image_id and dataset_format in ("voc", "sbd", "coco") else str(path.resolve())
    )


def find_leaks(train: Sequence[Dataset], evaluation: Sequence[Dataset]) -> tuple[Leak, ...]:
    """Images of the evaluation sets that are also in a training set, by name or byte for byte."""
    train_entries = [entry for dataset in train for entry in list_images(dataset)]
    evaluation_entries = [entry for dataset in evaluation for entry in list_images(dataset)]
    return tuple(
        Leak(train=first.id, evaluation=second.id, titles=(first.title, second.title))
        for first, second in match_images(train_entries, evaluation_entries)
    )


def refuse_leaks(train: Sequence[Dataset], evaluation: Sequence[Dataset]) -> None:
    """Refuse training and evaluation sets that share an image.

    Raises:
        DataError: Number and first ids of the shared images.
    """
    leaks = find_leaks(train, evaluation)
    if not leaks:
        return
    ids = ", ".join(leak.evaluation for leak in leaks[:3])
    raise DataError(
        f"{leaks[0].titles[1]}: {len(leaks)} evaluation image(s) are also in the training set {leaks[0].titles[0]}: "
        f"{ids}; remove them from one of the lists, or allow it with --allow-leaks"
    )


def list_images(dataset: Dataset) -> Iterator[ImageEntry]:
    """The images of a dataset, by name; samples that cannot be parsed are skipped."""
    dataset_format = dataset.title.partition(":")[0]
    for index, image_id in enumerate(dataset.ids):
        try:
            source = dataset[index].image.source
        except DataError:
            continue
        path = Path(source) if isinstance(source, (str, Path)) else None
        key = image_key(path, image_id, dataset_format) if path else f"{dataset.title}:{image_id}"
        yield ImageEntry(id=image_id, path=path, key=key, title=dataset.title)


def match_images(first: Sequence[ImageEntry], second: Sequence[ImageEntry]) -> list[tuple[ImageEntry, ImageEntry]]:
    """Pairs of an entry of `first` and one of `second` that are the same image; each of `second` at most once."""
    by_key: dict[str, ImageEntry] = {}
    by_size: dict[int, list[ImageEntry]] = defaultdict(list)
    for entry in first:
        by_key.setdefault(entry.key, entry)
        by_size[_file_size(entry)].append(entry)
    digests: dict[Path, bytes] = {}
    pairs = []
    for entry in second:
        match = by_key.get(entry.key) or _same_bytes(entry, by_size[_file_size(entry)], digests)
        if match:
            pairs.append((match, entry))
    return pairs


def find_duplicates(entries: Sequence[ImageEntry]) -> list[tuple[ImageEntry, ImageEntry]]:
    """Pairs of an entry and a later one that are the same image."""
    pairs = []
    by_key: dict[str, ImageEntry] = {}
    by_size: dict[int, list[ImageEntry]] = defaultdict(list)
    digests: dict[Path, bytes] = {}
    for entry in entries:
        size = _file_size(entry)
        match = by_key.get(entry.key) or _same_bytes(entry, by_size[size], digests)
        if match:
            pairs.append((match, entry))
        by_key.setdefault(entry.key, entry)
        by_size[size].append(entry)
    return pairs


def _same_bytes(entry: ImageEntry, candidates: list[ImageEntry], digests: dict[Path, bytes]) -> ImageEntry | None:
    """The first candidate (all of the same file size) with the same bytes."""
    if entry.path is None or not candidates or _file_size(entry) == 0:
        return None
    digest = _digest(entry.path, digests)
    return next((item for item in candidates if item.path and _digest(item.path, digests) == digest), None)


def _digest(path: Path, digests: dict[Path, bytes]) -> bytes:
    if path not in digests:
        with path.open("rb") as file:
            digests[path] = hashlib.file_digest(file, "sha1").digest()
    return digests[path]


def _file_size(entry: ImageEntry) -> int:
    """Bytes of the file; 0 without a readable file."""
    try:
        return entry.path.stat().st_size if entry.path else 0
    except OSError:
        return 0
