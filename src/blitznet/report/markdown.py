"""Markdown tables, of cards, of reproduced tables and of the benchmarks' page."""

from collections.abc import Sequence


def grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the first column is text, the others numbers."""
    marks = ["---", *("---:" for _ in columns[1:])]
    return "\n".join(f"| {' | '.join(map(cell, cells))} |" for cells in (columns, marks, *rows))


def cell(text: str) -> str:
    """Text that does not break its table."""
    return text.replace("|", "\\|").replace("\n", " ")
