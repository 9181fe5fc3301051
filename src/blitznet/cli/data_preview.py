"""`blitznet data show`: a contact sheet of what the network will be fed, with its truth drawn on."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import tyro

from blitznet.cli.console import bars
from blitznet.cli.files import prepare_files
from blitznet.cli.flags import metavar, read_classes
from blitznet.cli.sets import open_sets
from blitznet.core.errors import DataError, UsageError
from blitznet.core.files import translate_write_errors
from blitznet.core.models import DEFAULT, get_spec

if TYPE_CHECKING:
    from blitznet.core.sample import Sample
    from blitznet.data.augment import Policy
    from blitznet.data.mapping import MappedDataset
    from blitznet.drawing.contact_sheet import Tile

PolicyName = Literal["none", "plain", "ssd", "blitznet", "light"]

_BOUNDS = {"count": (1, 2000), "columns": (1, 100), "size": (32, 2048)}
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_QUALITY = 90


@dataclass(frozen=True)
class DataPreview:
    """Draw images of data sets as the network will be fed them, boxes and masks on them, on one contact sheet."""

    datasets: Annotated[tuple[str, ...], tyro.conf.Positional, metavar("SET [SET ...]")] = ()
    """FORMAT:ROOT@SPLIT,option=value+value; the images are drawn from all of them alike."""
    count: int = 24
    """Images on the sheet."""
    columns: int = 6
    """Images side by side."""
    policy: PolicyName = "plain"
    """Augmentation; plain: only brought to the network's size; none: in the image's own shape, with its whole mask."""
    size: int = 300
    """Side of the network's image, pixels."""
    classes: Annotated[str | None, metavar("voc|coco|FILE")] = None
    """The classes to map the sets onto (FILE: one a line). Not given: each set's own."""
    out: Path = Path("blitznet-data.jpg")
    """The sheet: .jpg, .png or .webp."""
    seed: int = 0
    """Of the choice of images and of their augmentation."""


def run(options: DataPreview) -> int:
    """Write the sheet; 1 if a image could not be shown, which keeps no other from it."""
    from PIL import Image

    from blitznet.drawing.contact_sheet import contact_sheet

    _require_bounds(options)
    prepare_files(options.out)
    classes = None if options.classes is None else read_classes(options.classes)
    chosen = list(_choose(open_sets(options.datasets, classes), options.count, options.seed))
    tiles: list[Tile] = []
    with bars() as show:
        for done, (dataset, index) in enumerate(chosen, 1):
            try:
                tiles.append(_tile(dataset, index, options))
            except DataError as error:
                print(f"blitznet: error: {error}", file=sys.stderr)
            show("images", done, len(chosen))
    if not tiles:
        raise DataError(f"{', '.join(options.datasets)}: there is no image to show")
    with translate_write_errors(options.out):
        Image.fromarray(contact_sheet(tiles, options.columns)).save(options.out, quality=_QUALITY)
    print(f"{len(tiles)} images: {options.out}")
    return 0 if len(tiles) == len(chosen) else 1


def _require_bounds(options: DataPreview) -> None:
    for name, (low, high) in _BOUNDS.items():
        if not low <= getattr(options, name) <= high:
            raise UsageError(f"--{name}: expected {low} to {high}, got {getattr(options, name)}")
    if options.seed < 0:
        raise UsageError(f"--seed: expected 0 or more, got {options.seed}")
    if options.out.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"--out: expected a picture ({', '.join(_SUFFIXES)}), got {options.out}")


def _choose(datasets: "Sequence[MappedDataset]", count: int, seed: int) -> "Iterator[tuple[MappedDataset, int]]":
    """As many images of each set, drawn without repetition, in the set's order."""
    for number, dataset in enumerate(datasets):
        share = count // len(datasets) + (number < count % len(datasets))
        drawn = np.random.default_rng([seed, number]).permutation(len(dataset))[:share]
        yield from ((dataset, int(index)) for index in sorted(drawn))


def _tile(dataset: "MappedDataset", index: int, options: DataPreview) -> "Tile":
    from blitznet.data.augment import augment
    from blitznet.drawing.contact_sheet import example_tile

    sample = dataset[index]
    size, map_size = _sizes(sample, options)
    rng = np.random.default_rng([options.seed, index])
    example = augment(sample, rng, _policy(options.policy), size=size, map_size=map_size)
    return example_tile(example, dataset.class_names)


def _sizes(sample: "Sample", options: DataPreview) -> tuple[tuple[int, int], tuple[int, int]]:
    """(h, w) of the image, and (mh, mw) of the class map: at the default model's stride, unless nothing is squeezed."""
    if options.policy == "none":
        height, width = sample.image.size()
        scale = options.size / max(height, width)
        size = (max(round(height * scale), 1), max(round(width * scale), 1))
        return size, size
    side = -(-options.size // get_spec(DEFAULT).network.segmentation_stride)
    return (options.size, options.size), (side, side)


def _policy(name: PolicyName) -> "Policy":
    from blitznet.data.augment import BLITZNET, LIGHT, PLAIN, SSD

    return {"none": PLAIN, "plain": PLAIN, "ssd": SSD, "blitznet": BLITZNET, "light": LIGHT}[name]
