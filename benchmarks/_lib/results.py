"""Results of a benchmark: tables and goals, printed, and written as JSON with command, date, machine and versions."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from blitznet.bench.machine import describe_machine, describe_run

DATA = Path(__file__).parents[3] / "shared" / "data"
"""default folder of the images, beside the repository"""
PACKAGES = ("blitznet", "numpy", "onnxruntime", "pillow", "torch")

FILE_WIDTH = 120
"""columns of a table when the output is not a terminal"""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text; the first column is left-aligned, the others right-aligned."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()
    """lines under the table"""


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal and the value that was measured."""

    what: str
    goal: str
    measured: str
    met: bool

    def line(self) -> str:
        """The goal in one line."""
        return f"{self.what}: {self.measured} (goal {self.goal}): {'met' if self.met else 'missed'}"


def at_least(what: str, value: float, limit: float, unit: str = "") -> Goal:
    """The goal that the value is not below the limit."""
    return Goal(what, f">= {limit:g}{unit}", f"{value:.3g}{unit}", value >= limit)


def at_most(what: str, value: float, limit: float, unit: str = "") -> Goal:
    """The goal that the value is not above the limit."""
    return Goal(what, f"<= {limit:g}{unit}", f"{value:.3g}{unit}", value <= limit)


def require_images(root: Path) -> None:
    """Exit successfully if the folder of images does not exist."""
    if not root.is_dir():
        print(f"skipped: there are no images in {root}; name another folder with --root")
        sys.exit(0)


def notify(text: str) -> None:
    """Print a line of progress to stderr."""
    Console(stderr=True, highlight=False).print(text, markup=False)


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as percent; None as a dash."""
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def print_results(tables: Sequence[Table], goals: Sequence[Goal] = ()) -> None:
    """Print tables with their notes, then a line for each goal."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else FILE_WIDTH)
    for table in tables:
        rich_table = RichTable(title=table.title, title_justify="left")
        for index, column in enumerate(table.columns):
            rich_table.add_column(column, justify="right" if index else "left", no_wrap=not index)
        for row in table.rows:
            rich_table.add_row(*row)
        console.print(rich_table)
        for note in table.notes:
            console.print(note, markup=False)
    for goal in goals:
        print(goal.line())


def write_json(path: Path | None, options: Any, **results: Any) -> None:
    """Write results and what is needed to reproduce them as JSON; nothing if `path` is None."""
    if path is None:
        return
    import torch  # here, because processes that are timed must not import it

    module = getattr(sys.modules["__main__"], "__spec__", None)
    report = {
        **describe_run("python" if module is None else f"python -m {module.name}", PACKAGES),
        "machine": {**dataclasses.asdict(describe_machine()), "threads": torch.get_num_threads()},
        "options": to_json(options),
    }
    path.write_text(json.dumps(report | to_json(results), indent=2) + "\n")


def to_json(value: Any) -> Any:
    """Dataclasses, containers and paths as values for JSON; floats are rounded to six digits."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_json({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, float):
        return round(value, 6)
    return str(value) if isinstance(value, Path) else value
