"""The parts of a page, from plain values to HTML; whatever is a name or a text is escaped here."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from blitznet.core.arrays import RGBArray, require_shape

_QUALITY = 75
"""of embedded JPEGs"""
_DARK = 0.62
"""share from which a cell of a heat map is so dark that its text turns light"""


class HtmlBlock(Protocol):
    """What a section of a page is made of."""

    def html(self) -> str:
        """Its HTML, complete in itself."""
        ...


@dataclass(frozen=True, slots=True)
class Grid:
    """A table; the first column names the rows."""

    head: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    def html(self) -> str:
        """A table that scrolls sideways where the screen is narrow."""
        head = "".join(f'<th scope="col">{escape(title)}</th>' for title in self.head)
        body = "".join(f"<tr>{_row(row)}</tr>" for row in self.rows)
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        table = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return _scrolling(table, self.caption or self.head[0])


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """A table of counts, each cell as dark as its share of its row."""

    title: str
    names: tuple[str, ...]
    """C rows and columns"""
    counts: NDArray[np.int64]
    """(C, C) true class (row) by predicted class (column)"""
    unit: str
    """what is counted"""

    def html(self) -> str:
        """A table with percent in its cells, and the count where one points at them."""
        require_shape(self.counts, (len(self.names), len(self.names)), name="heat map")
        columns = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in self.names)
        rows = "".join(self._row(number) for number in range(len(self.names)))
        caption = f"<caption>{escape(self.title)}: percent of the row</caption>"
        head = f'<thead><tr><th scope="col">true \\ predicted</th>{columns}</tr></thead>'
        return _scrolling(f'<table class="heat">{caption}{head}<tbody>{rows}</tbody></table>', self.title)

    def _row(self, number: int) -> str:
        name, counts = self.names[number], self.counts[number]
        total = max(int(counts.sum()), 1)
        cells = "".join(self._cell(name, other, int(count), total) for other, count in enumerate(counts))
        return f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'

    def _cell(self, name: str, other: int, count: int, total: int) -> str:
        if not count:
            return "<td></td>"
        share = count / total
        told = escape(f"{name} predicted as {self.names[other]}: {count} of {total} {self.unit}, {100 * share:.1f} %")
        dark = ' class="dark"' if share > _DARK else ""
        return f'<td{dark} style="--v:{share:.3f}" title="{told}">{100 * share:.0f}</td>'


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar and what is told beside it."""

    name: str
    told: tuple[str, ...]
    share: float
    """its length, 0..1"""
    note: str = ""
    """told behind it"""


@dataclass(frozen=True, slots=True)
class Bars:
    """Level bars in a table."""

    head: tuple[str, ...]
    """of the names and of what is told; the bars and the notes have none"""
    bars: Sequence[Bar]

    def html(self) -> str:
        """A table with a column for the bars, so that what is longest comes last on a narrow screen."""
        head = "".join(f'<th scope="col">{escape(title)}</th>' for title in self.head)
        rows = "".join(
            f'<tr>{_row((bar.name, *bar.told))}<td class="bar"><i style="width:{100 * min(max(bar.share, 0), 1):.1f}%">'
            f"</i></td><td>{escape(bar.note)}</td></tr>"
            for bar in self.bars
        )
        table = f'<table class="bars"><thead><tr>{head}<td></td><td></td></tr></thead><tbody>{rows}</tbody></table>'
        return _scrolling(table, self.head[0])


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Truth beside prediction for one image, (h, w, 3) each; None where it cannot be shown: the note says why."""

    name: str
    note: str
    pictures: tuple[RGBArray, RGBArray] | None


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Images with their truth and what was predicted."""

    pairs: Sequence[Pair]

    def html(self) -> str:
        """Figures, as many beside each other as fit."""
        return f'<div class="pairs">{"".join(_figure(pair) for pair in self.pairs)}</div>'


@dataclass(frozen=True, slots=True)
class Folded:
    """A part that is shown when it is asked for."""

    summary: str
    part: HtmlBlock

    def html(self) -> str:
        """Opened by click, tap or key."""
        return f"<details><summary>{escape(self.summary)}</summary>{self.part.html()}</details>"


def data_url(image: RGBArray) -> str:
    """The picture (h, w, 3) as a JPEG inside its own address."""
    stream = io.BytesIO()
    Pillow.fromarray(image).save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _row(cells: Sequence[str]) -> str:
    first, *rest = cells
    return f'<th scope="row">{escape(first)}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in rest)


def _scrolling(table: str, label: str) -> str:
    """The table in a box that keys can scroll."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">{table}</div>'


def _figure(pair: Pair) -> str:
    shown = "" if pair.pictures is None else _image(pair.pictures[0], f"truth of {pair.name}")
    shown += "" if pair.pictures is None else _image(pair.pictures[1], f"prediction for {pair.name}")
    caption = f"<figcaption><strong>{escape(pair.name)}</strong> {escape(pair.note)}</figcaption>"
    return f'<figure><div class="pair">{shown}</div>{caption}</figure>'


def _image(image: RGBArray, told: str) -> str:
    height, width = image.shape[:2]
    return f'<img src="{data_url(image)}" width="{width}" height="{height}" alt="{escape(told)}">'
