"""`blitznet data convert`: a data set of one format as files of another."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from blitznet.cli.console import bars
from blitznet.cli.files import make_folders
from blitznet.cli.flags import metavar
from blitznet.core.errors import UsageError

To = Literal["coco", "voc", "yolo", "folder"]


@dataclass(frozen=True)
class DataConvert:
    """Write a data set in another format: boxes, polygons, holes, runs, crowds and class maps stay what they are.

    What the other format has no place for is told, and nothing is written, unless --lossy is given. Several splits
    may go into one folder, one after the other.
    """

    dataset: Annotated[str, tyro.conf.Positional, metavar("SET")]
    """FORMAT:ROOT@SPLIT; of options only VOC's masks and masked."""
    to: To
    """The format to write."""
    out: Path
    """Folder of the new set."""
    split: str | None = None
    """Its split's name. Not given: the same as the old one's, or train."""
    lossy: bool = False
    """Leave out what the format has no place for."""
    link: bool = False
    """Link to the images instead of copying them."""


def run(options: DataConvert) -> int:
    """Write the set, and what was left out."""
    from blitznet.data.convert import convert
    from blitznet.data.sources import open_dataset, parse_source

    source = parse_source(options.dataset)
    if source.classes is not None or source.void or source.weight != 1:
        raise UsageError(f"'{options.dataset}': classes, void and weight are for training; leave them out")
    lies = source.root.resolve()
    if options.out.resolve() in (lies, lies.parent if lies.is_file() else lies):
        raise UsageError(f"--out {options.out}: that is where the set lies; give another folder")
    split = options.split or (source.split or "train").rpartition("/")[2]
    dataset = open_dataset(source)
    make_folders(options.out)
    with bars() as show:
        lost = convert(
            dataset,
            options.to,
            options.out,
            split,
            lossy=options.lossy,
            link=options.link,
            watch=lambda done, count: show(source.title, done, count),
        )
    for loss, count in lost.most_common():
        print(f"left out of {count:,} images: {loss}")
    print(f"{len(dataset):,} images: {options.to}:{options.out}@{split}")
    return 0
