"""`blitznet data check`: find errors in datasets; exit code 1 if there are any."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from blitznet.cli.console import progress_bars, stdout_console
from blitznet.cli.datasets import expand_all, require_datasets
from blitznet.cli.flags import metavar, read_class_names
from blitznet.core.errors import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from blitznet.data.check import DatasetTotals, Finding

_MAX_ABSENT = 10
"""classes without objects that are listed"""
_COLORS = {"error": "bold red", "warning": "yellow"}


@dataclass(frozen=True)
class DataCheck:
    """Check every image, box and mask of datasets; list each kind of problem with its count and examples.

    Fix errors before training; they give exit code 1. Warnings may be intended.

    Examples:
        blitznet data check voc:VOCdevkit/VOC2012@train
        blitznet data check coco:animals@train coco:animals@val --class-names voc
    """

    datasets: Annotated[tuple[str, ...], tyro.conf.Positional, metavar("DATASET [DATASET ...]")] = ()
    """Datasets, FORMAT:ROOT@SPLIT,option=value+value, or paths whose format is recognized. Images that two of them
    share are reported."""
    class_names: Annotated[str | None, metavar("voc|coco|FILE")] = None
    """Class names of the model to be trained; FILE has one per line. Dataset classes that it lacks are reported.
    Default: each dataset's own."""


def run(options: DataCheck) -> int:
    """Check the datasets; return 1 if there are errors."""
    from blitznet.data.check import check_datasets

    require_datasets(options.datasets)
    class_names = None if options.class_names is None else read_class_names(options.class_names)
    datasets = expand_all(options.datasets)
    with progress_bars() as progress:
        report = check_datasets(*datasets, class_names=class_names, progress=progress)
    console = stdout_console()
    if report.totals:
        console.print(_totals_table(report.totals))
        for totals in report.totals:
            console.print(_class_table(totals))
    for finding in report.findings:
        _print_finding(console, finding)
    console.print(f"{_count(len(report.errors), 'kind')} of error, {_count(len(report.warnings), 'kind')} of warning")
    return 1 if report.errors else 0


def _totals_table(totals: "tuple[DatasetTotals, ...]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("dataset", overflow="fold")
    for title in ("images", "objects", "masks", "classes"):
        table.add_column(title, justify="right")
    for row in totals:
        counts = (row.images, row.objects, row.masks, row.classes)
        table.add_row(Text(one_line(row.title)), *(f"{count:,}" for count in counts))
    return table


def _class_table(totals: "DatasetTotals") -> "Table":
    """One row for each class that occurs, and the names of the others in the caption."""
    from rich.table import Table
    from rich.text import Text

    absent = [row.name for row in totals.per_class if not row.images]
    shown = ", ".join(absent[:_MAX_ABSENT]) + (
        f" and {len(absent) - _MAX_ABSENT} more" if len(absent) > _MAX_ABSENT else ""
    )
    table = Table(box=None, pad_edge=False, title_justify="left", caption_justify="left")
    table.title = Text(one_line(totals.title))
    table.caption = Text(f"without objects: {shown}") if absent else None
    table.add_column("class", overflow="fold")
    for title in ("objects", "images", "masks"):
        table.add_column(title, justify="right")
    for row in totals.per_class:
        if row.images:
            table.add_row(Text(row.name), *(f"{count:,}" for count in (row.objects, row.images, row.masks)))
    return table


def _print_finding(console: "Console", finding: "Finding") -> None:
    from rich.text import Text

    head = Text.assemble(
        (finding.severity, _COLORS[finding.severity]), one_line(f": {finding.title}: {finding.kind}: ")
    )
    console.print(head.append(f"{finding.count:,}", "bold"), soft_wrap=True)
    for example in finding.examples:
        console.print(Text(f"    {one_line(example)}"), soft_wrap=True)
    if finding.count > len(finding.examples):
        console.print(f"    ... and {finding.count - len(finding.examples):,} more")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
