"""`blitznet data check`: what is broken in data sets; exit code 1 where something must be mended."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from blitznet.cli.console import bars, stdout
from blitznet.cli.flags import metavar, read_classes
from blitznet.core.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from blitznet.data.check import Finding, Totals

_COLOURS = {"error": "bold red", "warning": "yellow"}


@dataclass(frozen=True)
class DataCheck:
    """Look at every image, box and mask of data sets, and say what is wrong, how often and where.

    Errors must be mended before training (exit code 1); warnings may be as they should be.
    """

    datasets: Annotated[tuple[str, ...], tyro.conf.Positional, metavar("SET [SET ...]")] = ()
    """FORMAT:ROOT@SPLIT,option=value+value; images that two of them share are told."""
    classes: Annotated[str | None, metavar("voc|coco|FILE")] = None
    """The classes of the model to be trained (FILE: one a line): names that it lacks are told."""


def run(options: DataCheck) -> int:
    """Check the sets; 1 if there are errors."""
    from blitznet.data.check import check
    from blitznet.data.sources import EXAMPLE

    if not options.datasets:
        raise UsageError(f"expected at least one data set, for example {EXAMPLE}")
    classes = None if options.classes is None else read_classes(options.classes)
    with bars() as show:
        findings = check(*options.datasets, classes=classes, progress=show)
    console = stdout()
    if findings.totals:
        console.print(_totals_table(findings.totals))
    for finding in findings.found:
        _print_finding(console, finding)
    errors, warnings = len(findings.errors), len(findings.warnings)
    console.print(f"{_counted(errors, 'kind')} of error, {_counted(warnings, 'kind')} of warning")
    return 1 if errors else 0


def _totals_table(totals: "tuple[Totals, ...]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("set", overflow="fold")
    for title in ("images", "objects", "masks", "classes"):
        table.add_column(title, justify="right")
    for one in totals:
        counts = (one.images, one.objects, one.masks, one.classes)
        table.add_row(Text(one.title), *(f"{count:,}" for count in counts))
    return table


def _print_finding(console: "Console", finding: "Finding") -> None:
    from rich.text import Text

    head = Text.assemble((finding.severity, _COLOURS[finding.severity]), f": {finding.title}: {finding.kind}: ")
    console.print(head.append(f"{finding.count:,}", "bold"), soft_wrap=True)
    for example in finding.examples:
        console.print(Text(f"    {example}"), soft_wrap=True)
    if finding.count > len(finding.examples):
        console.print(f"    ... and {finding.count - len(finding.examples):,} more")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
