"""`blitznet reproduce TABLE`: train and score a table of the paper, and write it with the paper's numbers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from blitznet.cli.console import notify, progress_bars
from blitznet.cli.files import make_folders
from blitznet.cli.flags import metavar
from blitznet.core.errors import UsageError
from blitznet.paper.tables import LeakProtocol, RunPlan, Scale, TableName, table


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Train the runs of a table of the paper, score them, and write the numbers beside the paper's.

    The same command resumes an interrupted table and reuses finished runs.

    Examples:
        blitznet reproduce table3 --root DATA
        blitznet reproduce table4 --root DATA --mask-fraction 0.25 --seeds 3
    """

    table: Annotated[TableName, tyro.conf.Positional]
    """Table to reproduce: table1, table3, table4, table5, table6 or table8. An error states why the others are not."""
    scale: Annotated[Scale, metavar("small|full")] = "small"
    """small: the light network at 192 px on a few images, ten minutes per run on two cores (table1, table3, table4,
    table8). full: the paper's runs, days on a GPU each. Default: small."""
    seeds: Annotated[int, metavar("N")] = 1
    """Runs per row, with seeds 0, 1 ... Default: 1."""
    root: Annotated[Path, metavar("DIR")] = Path("data")
    """Folder with the datasets VOCdevkit and coco. Default: data."""
    out: Annotated[Path, metavar("DIR")] = Path("runs/tables")
    """Folder for the runs and the table. Default: runs/tables."""
    protocol: Annotated[LeakProtocol, metavar("clean|authors")] = "clean"
    """clean: leave images of the evaluation sets out of training. authors: train on them. Default: clean."""
    encoder_weights: Annotated[Path | None, metavar("FILE")] = None
    """Weights of Caffe's ResNet-50 under torchvision's names, for BGR from 0 to 255 or for RGB from 0 to 1. Required by
    --scale full; the package does not include them. Default: none."""
    workers: Annotated[int | None, metavar("N")] = None
    """Data loader processes of each run. Default: 8 at the full scale, 1 at the small one."""
    device: Annotated[str, metavar("NAME")] = "auto"
    """Device to train on: cpu, cuda or auto. Default: auto."""
    accumulate: Annotated[int, metavar("N")] = 1
    """Split every batch into this many forward passes to save memory. Default: 1."""
    mask_fraction: Annotated[float, metavar("FRACTION")] = 1.0
    """Fraction of the masks to train on, for table4 at the small scale; the others have boxes only. Default: 1."""


def run(options: Reproduce) -> int:
    """Reproduce the table; print it and the paths of its files."""
    from blitznet.paper.reproduce import reproduce
    from blitznet.paper.table_files import to_markdown, write_table

    plan = make_plan(options)
    make_folders(plan.folder)
    with progress_bars() as progress:
        result = reproduce(plan, progress=progress, notify=notify)
    paths = write_table(result)
    print(to_markdown(result))
    print(f"written: {', '.join(map(str, paths))}")
    return 0


def make_plan(options: Reproduce) -> RunPlan:
    """The plan that the flags describe; every combination of scale, mask fraction and protocol has its own folder."""
    if options.seeds < 1:
        raise UsageError(f"--seeds: expected 1 or more, got {options.seeds}")
    paper_table = table(options.table, options.scale, mask_fraction=options.mask_fraction)
    if options.encoder_weights is not None and options.scale == "small":
        raise UsageError("--encoder-weights: expected --scale full, got small, whose weights are in the package")
    if options.encoder_weights is None and options.scale == "full":
        raise UsageError("--scale full: expected Caffe's ResNet-50 weights, got none; add --encoder-weights FILE")
    machine: dict[str, Any] = {"device": options.device, "accumulate": options.accumulate}
    if options.workers is not None:
        machine["workers"] = options.workers
    parts: list[str] = [options.table, options.scale]
    if options.mask_fraction != 1:
        parts.append(f"masks{options.mask_fraction:g}")
    if options.protocol != "clean":
        parts.append(options.protocol)
    return RunPlan(
        paper_table,
        options.out / "-".join(parts),
        options.root,
        seeds=options.seeds,
        protocol=options.protocol,
        encoder_weights=options.encoder_weights,
        machine=machine,
    )
