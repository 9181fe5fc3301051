"""Markdown tables."""

from collections.abc import Sequence


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with the first column aligned left and the others aligned right."""
    alignment = ["---", *("---:" for _ in columns[1:])]
    return "\n".join(f"| {' | '.join(map(escape_cell, cells))} |" for cells in (columns, alignment, *rows))


def escape_cell(text: str) -> str:
    """Text that is safe in a table cell."""
    return text.replace("|", "\\|").replace("\n", " ")
