"""Blocks of an HTML page, made from plain values; names and texts are escaped here."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blitznet.core.arrays import RGBArray, require_shape
from blitznet.report.percent import percent

_JPEG_QUALITY = 75
_DARK_CELL = 0.62
"""fraction from which a cell of a heat map has light text"""


class HtmlBlock(Protocol):
    """Content of a section."""

    def html(self) -> str:
        """HTML of complete elements."""
        ...


@dataclass(frozen=True, slots=True)
class HtmlTable:
    """A table; the first column names the rows."""

    header: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    def html(self) -> str:
        """A table that scrolls horizontally on narrow screens."""
        header = "".join(f'<th scope="col">{escape(title)}</th>' for title in self.header)
        body = "".join(f"<tr>{_row(row)}</tr>" for row in self.rows)
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        table = f"<table>{caption}<thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"
        return _scrollable(table, self.caption or self.header[0])


@dataclass(frozen=True, slots=True, eq=False)
class HeatMap:
    """A confusion matrix whose cells are shaded by their fraction of the row."""

    title: str
    names: tuple[str, ...]
    """(C,) names of the rows and of the columns"""
    counts: NDArray[np.int64]
    """(C, C) true class (row) by predicted class (column)"""
    unit: str
    """what is counted, plural"""

    def html(self) -> str:
        """A table with percent in its cells and the counts in their tooltips."""
        require_shape(self.counts, (len(self.names), len(self.names)), name="heat map")
        columns = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in self.names)
        rows = "".join(self._row(number) for number in range(len(self.names)))
        caption = f"<caption>{escape(self.title)}: percent of the row</caption>"
        header = f'<thead><tr><th scope="col">true \\ predicted</th>{columns}</tr></thead>'
        return _scrollable(f'<table class="heat">{caption}{header}<tbody>{rows}</tbody></table>', self.title)

    def _row(self, number: int) -> str:
        name, counts = self.names[number], self.counts[number]
        total = max(int(counts.sum()), 1)
        cells = "".join(self._cell(name, column, int(count), total) for column, count in enumerate(counts))
        return f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'

    def _cell(self, name: str, column: int, count: int, total: int) -> str:
        if not count:
            return "<td></td>"
        fraction = count / total
        tooltip = f"{name} predicted as {self.names[column]}: {count} of {total} {self.unit}, {percent(fraction)} %"
        dark = ' class="dark"' if fraction > _DARK_CELL else ""
        text = percent(fraction, digits=0)
        return f'<td{dark} style="--v:{fraction:.3f}" title="{escape(tooltip)}">{text}</td>'


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, with cells before it and a note after it."""

    name: str
    cells: tuple[str, ...]
    length: float
    """0..1; values outside are clipped"""
    note: str = ""


@dataclass(frozen=True, slots=True)
class BarChart:
    """Horizontal bars in a table."""

    header: tuple[str, ...]
    """column titles of the names and the cells; bars and notes have none"""
    bars: Sequence[Bar]

    def html(self) -> str:
        """A table with the bars in a column; the notes are the last column, which narrow screens cut off first."""
        header = "".join(f'<th scope="col">{escape(title)}</th>' for title in self.header)
        rows = "".join(
            f'<tr>{_row((bar.name, *bar.cells))}<td class="bar">'
            f'<i style="width:{percent(min(max(bar.length, 0), 1))}%"></i></td><td>{escape(bar.note)}</td></tr>'
            for bar in self.bars
        )
        table = f'<table class="bars"><thead><tr>{header}<td></td><td></td></tr></thead><tbody>{rows}</tbody></table>'
        return _scrollable(table, self.header[0])


@dataclass(frozen=True, slots=True, eq=False)
class ImagePair:
    """Ground truth and prediction of one image."""

    name: str
    note: str
    images: tuple[RGBArray, RGBArray] | None
    """(h, w, 3) each; None if the image cannot be read, which the note states"""


@dataclass(frozen=True, slots=True, eq=False)
class ImagePairs:
    """A grid of image pairs."""

    pairs: Sequence[ImagePair]

    def html(self) -> str:
        """Figures, as many in a row as fit."""
        return f'<div class="pairs">{"".join(_figure(pair) for pair in self.pairs)}</div>'


@dataclass(frozen=True, slots=True)
class Details:
    """A block that is collapsed until the reader opens it."""

    summary: str
    block: HtmlBlock

    def html(self) -> str:
        """A details element, which opens by click, tap or key."""
        return f"<details><summary>{escape(self.summary)}</summary>{self.block.html()}</details>"


def data_url(image: RGBArray) -> str:
    """The image (h, w, 3) as a JPEG in a data URL."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _row(cells: Sequence[str]) -> str:
    first, *rest = cells
    return f'<th scope="row">{escape(first)}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in rest)


def _scrollable(table: str, label: str) -> str:
    """The table in a box that the keyboard can scroll."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">{table}</div>'


def _figure(pair: ImagePair) -> str:
    images = "" if pair.images is None else _img(pair.images[0], f"truth of {pair.name}")
    images += "" if pair.images is None else _img(pair.images[1], f"prediction for {pair.name}")
    caption = f"<figcaption><strong>{escape(pair.name)}</strong> {escape(pair.note)}</figcaption>"
    return f'<figure><div class="pair">{images}</div>{caption}</figure>'


def _img(image: RGBArray, alt: str) -> str:
    height, width = image.shape[:2]
    return f'<img src="{data_url(image)}" width="{width}" height="{height}" alt="{escape(alt)}">'
