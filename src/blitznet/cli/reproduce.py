"""`blitznet reproduce TABLE`: a table of the paper trained, scored and written beside the paper's figures."""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from blitznet.cli.console import bars
from blitznet.cli.files import make_folders
from blitznet.cli.flags import metavar
from blitznet.core.errors import UsageError
from blitznet.paper.tables import Name, Plan, Protocol, Scale, table


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Train what a table of the paper takes, score it, and write our figures beside the paper's.

    The same call goes on where it was stopped, and reuses the runs that are finished.
    """

    table: Annotated[Name, tyro.conf.Positional]
    """The table: table1, table3, table4, table5, table6 or table8. Of the others the command says why they are not."""
    scale: Scale = "small"
    """full: the paper's own runs, days on a GPU each. small: the light network at 192 px on a few images, ten minutes
    each on two cores; table1, table3, table4 and table8."""
    seeds: int = 1
    """Runs of each row, with seeds 0, 1 ..."""
    root: Path = Path("data")
    """Folder that holds the data sets: VOCdevkit, coco."""
    out: Path = Path("runs/tables")
    """Folder for the runs and the table."""
    protocol: Protocol = "clean"
    """clean: images of the evaluation sets are left out of training. authors: they are learned from where they are in
    the training sets."""
    encoder_weights: Annotated[Path | None, metavar("FILE")] = None
    """For the full scale: the weights its ResNet-50 begins with, Caffe's, which the package does not bring."""
    contrast: Annotated[float, metavar("SHARE")] = 1.0
    """For table4 at the small scale: the share of the masks to learn from; the other images have boxes only, and the
    row without masks is left out."""


def run(options: Reproduce) -> int:
    """Make the table, print it, and say where it is."""
    from blitznet.paper.reproduce import reproduce
    from blitznet.paper.table_files import markdown, write_table

    plan = plan_of(options)
    make_folders(plan.folder)
    with bars() as show:
        made = reproduce(plan, show=show, tell=partial(print, file=sys.stderr))
    paths = write_table(made)
    print(markdown(made))
    print(f"written: {', '.join(map(str, paths))}")
    return 0


def plan_of(options: Reproduce) -> Plan:
    """What the flags ask for; each scale, protocol and contrast has a folder of its own."""
    if options.seeds < 1:
        raise UsageError(f"--seeds must be 1 or more, got {options.seeds}")
    chosen = table(options.table, options.scale, contrast=options.contrast)
    if options.encoder_weights is not None and options.scale == "small":
        raise UsageError("--encoder-weights is for --scale full; the light network's are in the package")
    if options.encoder_weights is None and options.scale == "full":
        raise UsageError(
            "--scale full begins with Caffe's ResNet-50, which is not in the package; give --encoder-weights"
        )
    parts: list[str] = [options.table, options.scale]
    if options.contrast != 1:
        parts.append(f"contrast{options.contrast:g}")
    if options.protocol != "clean":
        parts.append(options.protocol)
    return Plan(
        chosen,
        options.out / "-".join(parts),
        options.root,
        seeds=options.seeds,
        protocol=options.protocol,
        encoder_weights=options.encoder_weights,
    )
