"""The clean protocol: no image is both trained on and evaluated on."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from blitznet.core.errors import DataError
from blitznet.data.dataset import Dataset

_VOC_ID = re.compile(r"20(0[789]|1[012])_\d{6}")
_VOC2007_ID = re.compile(r"\d{6}")
_COCO_ID = re.compile(r"(?:COCO_(?:train|val|test)20\d\d_)?(\d{12})")


@dataclass(frozen=True, slots=True)
class Leak:
    """One image in two sets."""

    train: str
    """its id in the training set"""
    evaluation: str
    """its id in the evaluation set"""
    titles: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Listing:
    """A image of a set, without its pixels."""

    id: str
    path: Path | None
    key: str
    title: str


def image_key(path: str | Path, name: str = "", form: str = "") -> str:
    """What is equal for two files of one image, by their names; `name` is its id in a set of format `form`.

    VOC2012's `2007_000123` and `000123` in a folder VOC2007 are one image (all 632 such ids have equal boxes);
    a VOC or COCO id means its image in any format. Otherwise equal ids in two sets of one format are one image
    in VOC, SBD and COCO; in YOLO and folders, where files are often just numbered, only the same file is.
    """
    place = Path(path)
    if _VOC_ID.fullmatch(place.stem):
        return f"voc:{place.stem}"
    if _VOC2007_ID.fullmatch(place.stem) and "VOC2007" in place.parts:
        return f"voc:2007_{place.stem}"
    coco = _COCO_ID.fullmatch(place.stem)
    if coco:
        return f"coco:{coco[1]}"
    return f"{form}:{name}" if name and form in ("voc", "sbd", "coco") else str(place.resolve())


def find_leaks(train: Sequence[Dataset], evaluation: Sequence[Dataset]) -> tuple[Leak, ...]:
    """Every image of `evaluation` that is in `train` too, by name or byte for byte."""
    mine = [listing for dataset in train for listing in list_images(dataset)]
    return tuple(
        Leak(train=first.id, evaluation=second.id, titles=(first.title, second.title))
        for first, second in same_images(mine, [item for dataset in evaluation for item in list_images(dataset)])
    )


def refuse_leaks(train: Sequence[Dataset], evaluation: Sequence[Dataset]) -> None:
    """Raise a DataError if a image is both trained on and evaluated on."""
    leaks = find_leaks(train, evaluation)
    if not leaks:
        return
    pairs = ", ".join(leak.evaluation for leak in leaks[:3])
    raise DataError(
        f"{leaks[0].titles[1]}: {len(leaks)} evaluation image(s) are trained on too, in {leaks[0].titles[0]}: {pairs};"
        " take them out of one of the lists, or allow it with --allow-leaks"
    )


def list_images(dataset: Dataset) -> Iterator[Listing]:
    """The images of a set by name; a sample that cannot be read is left out."""
    form = dataset.title.partition(":")[0]
    for index, name in enumerate(dataset.ids):
        try:
            source = dataset[index].image.source
        except DataError:
            continue
        path = Path(source) if isinstance(source, (str, Path)) else None
        key = image_key(path, name, form) if path else f"{dataset.title}:{name}"
        yield Listing(id=name, path=path, key=key, title=dataset.title)


def same_images(first: Sequence[Listing], second: Sequence[Listing]) -> list[tuple[Listing, Listing]]:
    """Pairs (of `first`, of `second`) that are one image; each of `second` at most once."""
    by_key: dict[str, Listing] = {}
    by_size: dict[int, list[Listing]] = defaultdict(list)
    for listing in first:
        by_key.setdefault(listing.key, listing)
        by_size[_size(listing)].append(listing)
    digests: dict[Path, bytes] = {}
    pairs = []
    for listing in second:
        match = by_key.get(listing.key) or _identical(listing, by_size[_size(listing)], digests)
        if match:
            pairs.append((match, listing))
    return pairs


def find_duplicates(listings: Sequence[Listing]) -> list[tuple[Listing, Listing]]:
    """Pairs (earlier, later) that are one image."""
    pairs = []
    keys: dict[str, Listing] = {}
    sizes: dict[int, list[Listing]] = defaultdict(list)
    digests: dict[Path, bytes] = {}
    for listing in listings:
        size = _size(listing)
        match = keys.get(listing.key) or _identical(listing, sizes[size], digests)
        if match:
            pairs.append((match, listing))
        keys.setdefault(listing.key, listing)
        sizes[size].append(listing)
    return pairs


def _identical(listing: Listing, candidates: list[Listing], digests: dict[Path, bytes]) -> Listing | None:
    """The first candidate (all of one size) with the same bytes."""
    if listing.path is None or not candidates or _size(listing) == 0:
        return None
    mine = _digest(listing.path, digests)
    return next((other for other in candidates if other.path and _digest(other.path, digests) == mine), None)


def _digest(path: Path, digests: dict[Path, bytes]) -> bytes:
    if path not in digests:
        with path.open("rb") as file:
            digests[path] = hashlib.file_digest(file, "sha1").digest()
    return digests[path]


def _size(listing: Listing) -> int:
    """Bytes of the file; 0 where there is none to compare."""
    try:
        return listing.path.stat().st_size if listing.path else 0
    except OSError:
        return 0
