"""A table that is printed now and becomes part of a page later, and whether what was promised holds."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as they are read; the first column is text, the others numbers."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """A promise and what came of it."""

    what: str
    expected: str
    measured: str
    holds: bool

    def line(self) -> str:
        """One line."""
        return f"{self.what}: {self.measured} (expected {self.expected}): {'holds' if self.holds else 'fails'}"


def at_least(what: str, value: float, limit: float, unit: str = "") -> Verdict:
    """The value shall not be below the limit."""
    return Verdict(what, f">= {limit:g}{unit}", f"{value:.3g}{unit}", value >= limit)


def at_most(what: str, value: float, limit: float, unit: str = "") -> Verdict:
    """The value shall not be above the limit."""
    return Verdict(what, f"<= {limit:g}{unit}", f"{value:.3g}{unit}", value <= limit)


def print_all(tables: Sequence[Table], verdicts: Sequence[Verdict]) -> None:
    """Tables with their notes, then a line for each promise."""
    from report import show

    for table in tables:
        show(table.title, table.columns, table.rows, table.notes)
    for verdict in verdicts:
        print(verdict.line())
