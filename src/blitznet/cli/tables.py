"""A console that prints whole tables, however narrow the terminal is."""

from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

_FOLDED_WIDTH = 20
"""characters that a column needs whose cells may be folded"""
_INDENT = 2


class TableConsole(Console):
    """A console that prints a table as a list of records where it is wider than the terminal, and would be cut.

    In a file no line has spaces at its end.
    """

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does."""
        table = objects[0] if len(objects) == 1 and isinstance(objects[0], Table) else None
        if table is None:
            super().print(*objects, **options)
        elif table.show_header and _needed_width(self, table) > self.width:
            self._print_records(table)
        elif self.is_terminal:
            super().print(table, **options)
        else:
            with self.capture() as capture:
                super().print(table, **options)
            for line in capture.get().splitlines():
                super().print(line.rstrip(), markup=False, soft_wrap=True)

    def _print_records(self, table: Table) -> None:
        titles = [_plain(self, column.header) for column in table.columns]
        width = max(map(len, titles[1:])) + _INDENT
        if table.title:
            super().print(table.title, soft_wrap=True)
        for first, *cells in zip(*(column.cells for column in table.columns), strict=True):
            super().print(Text(_plain(self, first), "bold"), soft_wrap=True)
            for title, cell in zip(titles[1:], cells, strict=True):
                line = f"{'':{_INDENT}}{title:{width}}{' '.join(_plain(self, cell).split())}"
                super().print(Text(line), soft_wrap=True)
        if table.caption:
            super().print(table.caption, soft_wrap=True)


def _needed_width(console: Console, table: Table) -> int:
    """Characters of a line in which no cell is cut; those of columns that may be folded are folded."""
    padding = 1 if table.box is None else 3
    return sum(_column_width(console, column) + padding for column in table.columns)


def _column_width(console: Console, column: Column) -> int:
    texts = [_plain(console, column.header), *(_plain(console, cell) for cell in column.cells)]
    width = max(len(line) for text in texts for line in text.split("\n"))
    if column.overflow == "fold" and not column.no_wrap:
        width = min(width, _FOLDED_WIDTH)
    return max(width, column.min_width or 0)


def _plain(console: Console, cell: Any) -> str:
    """The text of a cell without its style."""
    return cell.plain if isinstance(cell, Text) else console.render_str(str(cell)).plain
