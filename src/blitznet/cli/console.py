"""What commands print: tables on stdout, progress bars and notices on stderr."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blitznet.core.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console

_FILE_WIDTH = 200
"""characters of a line where stdout is not a terminal"""


@dataclass
class Verbosity:
    """How much commands print; `main` sets it from `-q` and `-v`."""

    quiet: bool = False
    """no progress bars and no notices"""
    verbose: bool = False
    """tracebacks of errors, and log messages of libraries"""


VERBOSITY = Verbosity()


def stdout_console() -> "Console":
    """The console for tables: as wide as the terminal, or wide enough for a file."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_FILE_WIDTH)


def notify(message: str) -> None:
    """Print a notice on stderr; `-q` suppresses it."""
    if not VERBOSITY.quiet:
        print(message, file=sys.stderr)


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """One bar for each label of the yielded progress callback; no bars with `-q` or without a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console, disable=VERBOSITY.quiet or not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bars.add_task(label, total=total)
            bars.update(tasks[label], completed=done)

        yield progress
