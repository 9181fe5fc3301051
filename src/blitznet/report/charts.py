"""Charts of shares against shares, 0..1 both ways, as SVG inside a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_SIDE = 100
"""of the square of a chart, in its own units"""
_TICKS = (0.0, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Dot:
    """A point with what is told where one points at it."""

    x: float
    y: float
    told: str


@dataclass(frozen=True, slots=True)
class Column:
    """An upright bar from `left` to `right`, with what is told where one points at it."""

    left: float
    right: float
    height: float
    told: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart: columns, the area under falling steps, dots, whichever there are."""

    title: str
    note: str
    across: str
    """what the level axis measures"""
    up: str
    """what the upright axis measures"""
    steps: Sequence[tuple[float, float]] = ()
    """(x, y): y is the height from the x before up to this one; x rises, y falls"""
    dots: Sequence[Dot] = ()
    columns: Sequence[Column] = ()
    diagonal: bool = False

    def html(self) -> str:
        """A figure with its title and note."""
        drawn = "".join((*map(_column, self.columns), self._diagonal(), _area(self.steps), *map(_dot, self.dots)))
        label = escape(f"{self.title}: {self.note}")
        caption = f"<figcaption><strong>{escape(self.title)}</strong> {escape(self.note)}</figcaption>"
        svg = f'<svg viewBox="-21 -5 126 125" role="img" aria-label="{label}">{self._axes()}{drawn}</svg>'
        return f"<figure>{caption}{svg}</figure>"

    def _axes(self) -> str:
        lines = "".join(f"M0 {_SIDE * (1 - at):g}H{_SIDE}M{_SIDE * at:g} 0V{_SIDE}" for at in _TICKS)
        level = "".join(f'<text x="{_SIDE * at:g}" y="{_SIDE + 9}">{at:g}</text>' for at in _TICKS)
        upright = "".join(f'<text x="-7" y="{_SIDE * (1 - at) + 2.5:g}">{at:g}</text>' for at in _TICKS)
        across = f'<text x="50" y="{_SIDE + 18}">{escape(self.across)}</text>'
        up = f'<text transform="translate(-16 50) rotate(-90)">{escape(self.up)}</text>'
        return f'<path class="axes" d="{lines}"/>{level}{upright}{across}{up}'

    def _diagonal(self) -> str:
        return f'<path class="diagonal" d="M0 {_SIDE}L{_SIDE} 0"/>' if self.diagonal else ""


@dataclass(frozen=True, slots=True)
class Charts:
    """Small charts beside each other."""

    charts: Sequence[Chart]

    def html(self) -> str:
        """As many in a row as fit."""
        return f'<div class="charts">{"".join(chart.html() for chart in self.charts)}</div>'


def _area(steps: Sequence[tuple[float, float]]) -> str:
    if not steps:
        return ""
    path, height = [f"M0 {_SIDE}"], -1.0
    for k, (x, y) in enumerate(steps):
        start = steps[k - 1][0] if k else 0.0
        if round(y, 3) != height:  # a level stretch is one line
            height = round(y, 3)
            path.append(f"H{_at(start)}V{_at(1 - y)}")
        if k == len(steps) - 1:
            path.append(f"H{_at(x)}V{_SIDE}")
    return f'<path class="area" d="{"".join(path)}"/>'


def _dot(dot: Dot) -> str:
    return f'<circle cx="{_at(dot.x)}" cy="{_at(1 - dot.y)}" r="2.2"><title>{escape(dot.told)}</title></circle>'


def _column(column: Column) -> str:
    place = f'x="{_at(column.left)}" y="{_at(1 - column.height)}"'
    size = f'width="{_at(column.right - column.left)}" height="{_at(column.height)}"'
    return f"<rect {place} {size}><title>{escape(column.told)}</title></rect>"


def _at(share: float) -> str:
    return f"{_SIDE * share:.1f}".removesuffix(".0")
