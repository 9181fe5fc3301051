"""What commands print: tables on stdout, progress bars and notices on stderr."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from blitznet.core.errors import one_line
from blitznet.core.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console

_FILE_WIDTH = 200
"""characters of a line where stdout is not a terminal"""
_LINE_SECONDS = 30.0
"""interval between the lines of progress that replace a bar where stderr is not a terminal"""


@dataclass
class Verbosity:
    """How much commands print; `main` sets it from `-q` and `-v`."""

    quiet: bool = False
    """no progress bars and no notices"""
    verbose: bool = False
    """tracebacks of errors, and log messages of libraries"""


VERBOSITY = Verbosity()


def stdout_console() -> "Console":
    """The console for tables: as wide as the terminal, or wide enough for a file. Tables are never cut."""
    from blitznet.cli.tables import TableConsole

    # no markup: names of files and classes contain brackets
    make = partial(TableConsole, highlight=False, markup=False, emoji=False)
    console = make()
    return console if console.is_terminal else make(width=_FILE_WIDTH)


def notify(message: str) -> None:
    """Print a notice on stderr; `-q` suppresses it."""
    if not VERBOSITY.quiet:
        print(one_line(message), file=sys.stderr)


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


@contextmanager
def rate_bar(label: str) -> Iterator[Callable[[int, int | None, str], None]]:
    """A bar for work of unknown length, in hours: the yielded function takes steps done, all steps or None, and a text.

    Without a terminal a line is printed every 30 seconds, for the logs of batch systems; `-q` suppresses both.

    Args:
        label: The name of the work.
    """
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[text]}"))
    printed = monotonic()
    with Bars(*columns, console=console, disable=VERBOSITY.quiet or not console.is_terminal) as bars:
        task = bars.add_task(label, total=None, text="")

        def report(done: int, total: int | None, text: str) -> None:
            nonlocal printed
            bars.update(task, completed=done, total=total, text=text)
            if bars.disable and monotonic() - printed >= _LINE_SECONDS:
                printed = monotonic()
                notify(f"{label}: {text}")

        yield report
