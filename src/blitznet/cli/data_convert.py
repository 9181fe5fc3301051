"""`blitznet data convert`: write a dataset in another format."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from blitznet.cli.console import progress_bars
from blitznet.cli.flags import OverwriteFlag, metavar
from blitznet.core.errors import UsageError

DatasetFormat = Literal["coco", "voc", "yolo", "folder"]


@dataclass(frozen=True)
class DataConvert:
    """Convert a dataset to another format. Boxes, polygons, run lengths, crowds and class maps are kept unchanged.

    If the format cannot represent something, nothing is written unless --lossy is passed. Several splits can be
    written to one folder, one after the other.

    Examples:
        blitznet data convert coco:animals@train --to yolo --out animals-yolo
        blitznet data convert voc:VOCdevkit/VOC2012@val --to folder --out masks --lossy --link
    """

    dataset: Annotated[str, tyro.conf.Positional, metavar("DATASET")]
    """Dataset to convert, FORMAT:ROOT@SPLIT; of its options only VOC's masks= and mask_fraction= are allowed."""
    to: DatasetFormat
    """Format to write: coco, voc, yolo or folder."""
    out: Annotated[Path, metavar("DIR")]
    """Folder of the new dataset."""
    split: Annotated[str | None, metavar("NAME")] = None
    """Name of the new split. Default: the name of the converted one, or train."""
    lossy: tyro.conf.FlagCreatePairsOff[bool] = False
    """Drop what the format cannot represent."""
    link: tyro.conf.FlagCreatePairsOff[bool] = False
    """Link to the images instead of copying them."""
    overwrite: OverwriteFlag = False


def run(options: DataConvert) -> int:
    """Write the dataset; print what was dropped."""
    from blitznet.data.convert import convert_dataset
    from blitznet.data.sources import open_dataset, parse_source

    source = parse_source(options.dataset)
    if source.annotated is not None or source.ignore or source.sample_weight != 1:
        raise UsageError(
            f"'{options.dataset}': options annotated, ignore and sample_weight are for training; remove them"
        )
    root = source.root.resolve()
    if options.out.resolve() in (root, root.parent if root.is_file() else root):
        raise UsageError(f"--out {options.out}: expected a new folder, got that of the dataset; choose another")
    split = options.split or (source.split or "train").rpartition("/")[2]
    dataset = open_dataset(source)
    with progress_bars() as progress:
        lost = convert_dataset(
            dataset,
            options.to,
            options.out,
            split,
            lossy=options.lossy,
            link=options.link,
            overwrite=options.overwrite,
            progress=progress,
        )
    for item, count in lost.most_common():
        print(f"dropped from {count:,} images: {item}")
    print(f"{len(dataset):,} images: {options.to}:{options.out}@{split}")
    return 0
