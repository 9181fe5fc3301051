"""`blitznet data preview`: a contact sheet of training images with their annotations."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import tyro

from blitznet.cli.console import progress_bars
from blitznet.cli.datasets import open_datasets
from blitznet.cli.files import prepare_files
from blitznet.cli.flags import Imgsz, OverwriteFlag, metavar, parse_imgsz, read_class_names
from blitznet.core.errors import DataError, UsageError
from blitznet.core.files import atomic_path, translate_write_errors
from blitznet.core.models import DEFAULT, get_spec
from blitznet.core.written_files import record_written
from blitznet.data.augment import POLICIES, PolicyName

if TYPE_CHECKING:
    from blitznet.core.sample import Sample
    from blitznet.data.mapping import MappedDataset
    from blitznet.data.mixing import MixPolicy, MixPool
    from blitznet.drawing.contact_sheet import Tile

_LIMITS = {"count": (1, 2000), "columns": (1, 100)}
"""flag -> minimum and maximum"""
_MIN_SIZE, _MAX_SIZE = 32, 2048
"""limits of --imgsz, pixels"""
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_JPEG_QUALITY = 90


@dataclass(frozen=True)
class DataPreview:
    """Draw augmented training images with their boxes and masks on one contact sheet.

    Examples:
        blitznet data preview voc:VOCdevkit/VOC2012@train --policy ssd
        blitznet data preview coco:animals@train yolo:birds@train --policy none --count 12 --out sheet.png
        blitznet data preview voc:VOCdevkit/VOC2012@train --policy light --mosaic 0.5 --copy-paste 0.5
    """

    datasets: Annotated[tuple[str, ...], tyro.conf.Positional, metavar("DATASET [DATASET ...]")] = ()
    """Datasets, FORMAT:ROOT@SPLIT,option=value+value. Each contributes the same number of images."""
    count: Annotated[int, metavar("INT")] = 24
    """Number of images. Default: 24."""
    columns: Annotated[int, metavar("INT")] = 6
    """Images in a row. Default: 6."""
    policy: Annotated[Literal["none"] | PolicyName, metavar("{none," + ",".join(POLICIES) + "}")] = "plain"
    """Augmentation policy; plain only resizes, none keeps the aspect ratio. Default: plain."""
    mosaic: Annotated[float, metavar("FLOAT")] = 0.0
    """Probability of a mosaic of four images of the dataset. Default: 0."""
    copy_paste: Annotated[float, metavar("FLOAT")] = 0.0
    """Probability that objects of the dataset with their masks are pasted onto an image. Default: 0."""
    imgsz: Imgsz = None
    """Size of the training images in pixels, as one number or height and width. Default: that of the default model."""
    class_names: Annotated[str | None, metavar("voc|coco|FILE")] = None
    """Class names to map the datasets to; FILE has one per line. Default: each dataset's own."""
    out: Annotated[Path, metavar("FILE")] = Path("blitznet-data.jpg")
    """Image file to write: .jpg, .png or .webp. Default: blitznet-data.jpg."""
    seed: Annotated[int, metavar("INT")] = 0
    """Seed of the choice of images and of the augmentation. Default: 0."""
    overwrite: OverwriteFlag = False


def run(options: DataPreview) -> int:
    """Write the sheet; return 1 if an image cannot be read. The sheet then has the others."""
    from PIL import Image

    from blitznet.drawing.contact_sheet import contact_sheet

    size = _require_limits(options)
    prepare_files(options.out, overwrite=options.overwrite)
    class_names = None if options.class_names is None else read_class_names(options.class_names)
    datasets = open_datasets(options.datasets, class_names, purpose="train")
    chosen = list(_choose(datasets, options.count, options.seed))
    mix_policy, pools = _make_pools(datasets, options)
    tiles: list[Tile] = []
    with progress_bars() as progress:
        for done, (dataset, index) in enumerate(chosen, 1):
            try:
                tiles.append(_draw_tile(dataset, index, options, size, mix_policy, pools.get(dataset.title)))
            except DataError as error:
                print(f"blitznet: error: {error}", file=sys.stderr)
            progress("images", done, len(chosen))
    if not tiles:
        raise DataError(f"{', '.join(options.datasets)}: expected an image to draw, got none")
    with atomic_path(options.out) as temporary, translate_write_errors(options.out):
        Image.fromarray(contact_sheet(tiles, options.columns)).save(temporary, quality=_JPEG_QUALITY)
    record_written(options.out)
    print(f"{len(tiles)} images: {options.out}")
    return 0 if len(tiles) == len(chosen) else 1


def _require_limits(options: DataPreview) -> tuple[int, int]:
    """Check the flags; return (h, w) of the training images."""
    for name, (low, high) in _LIMITS.items():
        if not low <= getattr(options, name) <= high:
            raise UsageError(f"--{name}: expected {low} to {high}, got {getattr(options, name)}")
    height, width = parse_imgsz(options.imgsz) or get_spec(DEFAULT).size
    if min(height, width) < _MIN_SIZE or max(height, width) > _MAX_SIZE:
        raise UsageError(f"--imgsz: expected {_MIN_SIZE} to {_MAX_SIZE} pixels, got {height} {width}")
    for name in ("mosaic", "copy_paste"):
        if not 0 <= getattr(options, name) <= 1:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag}: expected a probability from 0 to 1, got {getattr(options, name)}")
    if options.policy == "none" and (options.mosaic or options.copy_paste):
        raise UsageError("--policy none: expected no --mosaic and no --copy-paste, got one; choose another policy")
    if options.seed < 0:
        raise UsageError(f"--seed: expected 0 or more, got {options.seed}")
    if options.out.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"--out: expected an image file ({', '.join(_SUFFIXES)}), got {options.out}")
    return height, width


def _choose(datasets: "Sequence[MappedDataset]", count: int, seed: int) -> "Iterator[tuple[MappedDataset, int]]":
    """The same number of random samples from each dataset, without repetition, in the dataset's order."""
    for number, dataset in enumerate(datasets):
        share = count // len(datasets) + (number < count % len(datasets))
        indices = np.random.default_rng([seed, number]).permutation(len(dataset))[:share]
        yield from ((dataset, int(index)) for index in sorted(indices))


def _make_pools(datasets: "Sequence[MappedDataset]", options: DataPreview) -> "tuple[MixPolicy, dict[str, MixPool]]":
    """The probabilities, and for each dataset what its images are mixed with: its own, as classes may differ."""
    from blitznet.data.mixing import MixPolicy, make_mix_pool

    mix_policy = MixPolicy(options.mosaic, options.copy_paste)
    if not (options.mosaic or options.copy_paste):
        return mix_policy, {}
    pools = {}
    for dataset in datasets:
        entries = np.stack([np.zeros(len(dataset), np.int64), np.arange(len(dataset))], 1)
        pools[dataset.title] = make_mix_pool([dataset], entries, np.ones(len(dataset)))
    return mix_policy, pools


def _draw_tile(
    dataset: "MappedDataset",
    index: int,
    options: DataPreview,
    size: tuple[int, int],
    mix_policy: "MixPolicy",
    pool: "MixPool | None",
) -> "Tile":
    from blitznet.data.mixing import mix
    from blitznet.drawing.contact_sheet import example_tile

    sample = dataset[index]
    policy = POLICIES["plain" if options.policy == "none" else options.policy]
    size, map_size = _keep_aspect(sample, size) if options.policy == "none" else (size, _map_size(size))
    rng = np.random.default_rng([options.seed, index])
    train_sample = mix([dataset], 0, index, rng, policy, pool=pool, mix_policy=mix_policy, size=size, map_size=map_size)
    return example_tile(train_sample, dataset.class_names)


def _keep_aspect(sample: "Sample", size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The largest size inside (h, w) with the image's aspect ratio, for the image and for the class map."""
    height, width = sample.image.size()
    scale = min(size[0] / height, size[1] / width)
    fitted = (max(round(height * scale), 1), max(round(width * scale), 1))
    return fitted, fitted


def _map_size(size: tuple[int, int]) -> tuple[int, int]:
    """(mh, mw) of the class map at the default model's stride, for images of (h, w)."""
    stride = get_spec(DEFAULT).network.segmentation_stride
    return -(-size[0] // stride), -(-size[1] // stride)
