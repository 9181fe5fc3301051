"""The data doctor: what is wrong in a set, how often and where, before an epoch is wasted on it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import IGNORE_INDEX, Flags
from blitznet.core.errors import BlitzNetError, DataError
from blitznet.core.sample import Sample
from blitznet.data.dataset import Dataset, UnknownClassError
from blitznet.data.leaks import Listing, find_duplicates, list_images, same_images
from blitznet.data.mapping import map_classes
from blitznet.data.masks import UnknownValueError
from blitznet.data.sources import Source, open_dataset, parse_source

Severity = Literal["error", "warning"]
Progress = Callable[[str, int, int], None]
"""called with a set's title, images done, images in all"""

EXAMPLES = 5
_UNREADABLE = "files that are missing or cannot be read"
_SLACK = 1.0
"""pixels by which a box may leave its image: rounding and 1-based counting"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of fault in one set."""

    severity: Severity
    kind: str
    title: str
    """the set"""
    count: int
    examples: tuple[str, ...]
    """up to five, each naming the image or file"""


@dataclass(frozen=True, slots=True)
class Totals:
    """What was looked at."""

    title: str
    images: int
    objects: int
    masks: int
    classes: int


@dataclass(frozen=True, slots=True)
class Findings:
    """All that was found, errors first."""

    found: tuple[Finding, ...]
    totals: tuple[Totals, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What must be mended before training."""
        return tuple(finding for finding in self.found if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What may be as it should be."""
        return tuple(finding for finding in self.found if finding.severity == "warning")


def check(
    *sets: str | Source | Dataset, classes: tuple[str, ...] | None = None, progress: Progress | None = None
) -> Findings:
    """Look at every image, box and mask of the sets; with `classes`, also at names the model lacks.

    Nothing stops at the first fault: a file that cannot be read is one finding. Leaks between the given sets
    are warnings, since sets may be given that are never used together.
    """
    log = _Log()
    totals: list[Totals] = []
    listings: list[tuple[str, list[Listing]]] = []
    for given in sets:
        opened = _open(given, classes, log)
        if opened is None:
            continue
        dataset, annotated = opened
        seen, total = _check_samples(dataset, log, progress)
        totals.append(total)
        for name in np.asarray(dataset.class_names)[annotated & ~seen]:
            log.add("warning", "classes that do not occur", dataset.title, str(name))
        images = list(list_images(dataset))
        for first, second in find_duplicates(images):
            log.add("warning", "duplicate images", dataset.title, f"{second.id} is {first.id}")
        for title, others in listings:
            for first, second in same_images(others, images):
                log.add("warning", f"images also in {title}", dataset.title, f"{second.id} is {first.id}")
        listings.append((dataset.title, images))
    return Findings(found=log.findings(), totals=tuple(totals))


@dataclass(slots=True)
class _Log:
    """Counts of each kind, with the first few examples."""

    counts: dict[tuple[Severity, str, str], int] = field(default_factory=dict)
    examples: dict[tuple[Severity, str, str], list[str]] = field(default_factory=dict)

    def add(self, severity: Severity, kind: str, title: str, example: str) -> None:
        key = (severity, kind, title)
        self.counts[key] = self.counts.get(key, 0) + 1
        kept = self.examples.setdefault(key, [])
        if len(kept) < EXAMPLES:
            kept.append(example)

    def findings(self) -> tuple[Finding, ...]:
        found = (
            Finding(severity, kind, title, count, tuple(self.examples[severity, kind, title]))
            for (severity, kind, title), count in self.counts.items()
        )
        return tuple(sorted(found, key=lambda finding: finding.severity != "error"))


def _open(given: str | Source | Dataset, classes: tuple[str, ...] | None, log: _Log) -> tuple[Dataset, Flags] | None:
    """The set under its own names and which of them it annotates; None, and a finding, if it cannot be opened."""
    title = given if isinstance(given, str) else given.title
    try:
        source = parse_source(given) if isinstance(given, str) else given
        if not isinstance(source, Source):
            return source, np.ones(len(source.class_names), np.bool_)
        dataset = open_dataset(source)
        own = map_classes(dataset, dataset.class_names, annotated=source.classes, void=source.void)
        unmapped = map_classes(dataset, classes or dataset.class_names, void=source.void).unmapped
    except BlitzNetError as error:
        log.add("error", "sets that cannot be opened", title, str(error))
        return None
    for name in unmapped:
        log.add("warning", "names unknown to the model, taken as background", title, name)
    return dataset, own.annotated


def _check_samples(dataset: Dataset, log: _Log, progress: Progress | None) -> tuple[Flags, Totals]:
    """Findings of every sample; (K,) the classes that occur, and what was looked at."""
    objects = masks = 0
    seen = np.zeros(len(dataset.class_names), np.bool_)
    for index in range(len(dataset)):
        try:
            sample = dataset[index]
        except UnknownClassError as error:
            log.add("error", "objects of unknown classes", dataset.title, str(error))
        except DataError as error:
            log.add("error", _UNREADABLE, dataset.title, str(error))
        else:
            objects += len(sample.labels)
            masks += sample.mask is not None
            seen |= _check_sample(sample, dataset, log)
        if progress:
            progress(dataset.title, index + 1, len(dataset))
    return seen, Totals(dataset.title, len(dataset), objects, masks, len(dataset.class_names))


def _check_sample(sample: Sample, dataset: Dataset, log: _Log) -> Flags:
    """Findings of one sample; (K,) the classes it shows."""
    seen = np.zeros(len(dataset.class_names), np.bool_)
    seen[sample.labels] = True
    size = _check_image(sample, dataset.title, log)
    _check_boxes(sample, size, dataset, log)
    shown = _check_mask(sample, size, dataset.title, log)
    seen[shown - 1] = True
    if not sample.annotated_box_classes.any() and sample.mask is None:
        log.add("warning", "images with nothing annotated", dataset.title, sample.id)
    elif not seen.any():
        log.add("warning", "images without objects", dataset.title, sample.id)
    return seen


def _check_image(sample: Sample, title: str, log: _Log) -> tuple[int, int] | None:
    """(H, W) of the image, decoded to its end; None if it cannot be."""
    try:
        height, width, _ = sample.image.read().shape
    except DataError as error:
        log.add("error", _UNREADABLE, title, str(error))
        return None
    return height, width


def _check_boxes(sample: Sample, size: tuple[int, int] | None, dataset: Dataset, log: _Log) -> None:
    height, width = size or (np.inf, np.inf)
    low = np.asarray([-_SLACK, -_SLACK])
    high = np.asarray([width + _SLACK, height + _SLACK])
    for box, label in zip(sample.boxes.astype(np.float64), sample.labels, strict=True):
        what = f"{sample.id}: {dataset.class_names[label]} {box.round(1).tolist()}"
        if (box[2:] <= box[:2]).any():
            log.add("error", "empty or inverted boxes", dataset.title, what)
        elif size and ((box[:2] < low).any() or (box[2:] > high).any()):
            log.add("error", "boxes outside of their image", dataset.title, f"{what} in {width}x{height}")


def _check_mask(sample: Sample, size: tuple[int, int] | None, title: str, log: _Log) -> NDArray[np.int64]:
    """The classes' values in the mask; none if it has none or cannot be read."""
    nothing = np.zeros(0, np.int64)
    if sample.mask is None:
        return nothing
    try:
        mask = sample.mask.read()
    except UnknownValueError as error:
        log.add("error", "masks with unknown values", title, str(error))
        return nothing
    except DataError as error:
        log.add("error", _UNREADABLE, title, str(error))
        return nothing
    if size and mask.shape != size:
        expected, actual = f"{size[1]}x{size[0]}", f"{mask.shape[1]}x{mask.shape[0]}"
        log.add("error", "masks of another size", title, f"{sample.id}: image {expected}, mask {actual}")
    values = np.flatnonzero(np.bincount(mask.ravel(), minlength=IGNORE_INDEX + 1))
    return np.asarray(values[(values > 0) & (values != IGNORE_INDEX)], np.int64)
