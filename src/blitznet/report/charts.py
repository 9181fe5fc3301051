"""SVG charts inside an HTML page; both axes are 0..1."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_SIZE = 100
"""width and height of the plot area in SVG units"""
_TICKS = (0.0, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Point:
    """A dot with a tooltip."""

    x: float
    y: float
    tooltip: str


@dataclass(frozen=True, slots=True)
class HistogramBar:
    """A vertical bar from `left` to `right` with a tooltip."""

    left: float
    right: float
    height: float
    tooltip: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of bars, a falling step curve and dots; each of them may be empty."""

    title: str
    note: str
    x_label: str
    y_label: str
    steps: Sequence[tuple[float, float]] = ()
    """(x, y) of a filled curve that has height y from the previous x to this one; x rises, y falls"""
    points: Sequence[Point] = ()
    bars: Sequence[HistogramBar] = ()
    diagonal: bool = False
    """whether to draw the line y = x"""

    def html(self) -> str:
        """A figure with title and note."""
        marks = "".join((*map(_bar, self.bars), self._diagonal(), _area(self.steps), *map(_point, self.points)))
        label = escape(f"{self.title}: {self.note}")
        caption = f"<figcaption><strong>{escape(self.title)}</strong> {escape(self.note)}</figcaption>"
        svg = f'<svg viewBox="-21 -5 126 125" role="img" aria-label="{label}">{self._axes()}{marks}</svg>'
        return f"<figure>{caption}{svg}</figure>"

    def _axes(self) -> str:
        lines = "".join(f"M0 {_SIZE * (1 - at):g}H{_SIZE}M{_SIZE * at:g} 0V{_SIZE}" for at in _TICKS)
        x_ticks = "".join(f'<text x="{_SIZE * at:g}" y="{_SIZE + 9}">{at:g}</text>' for at in _TICKS)
        y_ticks = "".join(f'<text x="-7" y="{_SIZE * (1 - at) + 2.5:g}">{at:g}</text>' for at in _TICKS)
        x_label = f'<text x="50" y="{_SIZE + 18}">{escape(self.x_label)}</text>'
        y_label = f'<text transform="translate(-16 50) rotate(-90)">{escape(self.y_label)}</text>'
        return f'<path class="axes" d="{lines}"/>{x_ticks}{y_ticks}{x_label}{y_label}'

    def _diagonal(self) -> str:
        return f'<path class="diagonal" d="M0 {_SIZE}L{_SIZE} 0"/>' if self.diagonal else ""


@dataclass(frozen=True, slots=True)
class ChartGrid:
    """Small charts beside each other."""

    charts: Sequence[Chart]

    def html(self) -> str:
        """As many charts in a row as fit."""
        return f'<div class="charts">{"".join(chart.html() for chart in self.charts)}</div>'


def _area(steps: Sequence[tuple[float, float]]) -> str:
    if not steps:
        return ""
    path, height = [f"M0 {_SIZE}"], -1.0
    for k, (x, y) in enumerate(steps):
        start = steps[k - 1][0] if k else 0.0
        if round(y, 3) != height:  # steps of equal height are one line
            height = round(y, 3)
            path.append(f"H{_coordinate(start)}V{_coordinate(1 - y)}")
        if k == len(steps) - 1:
            path.append(f"H{_coordinate(x)}V{_SIZE}")
    return f'<path class="area" d="{"".join(path)}"/>'


def _point(point: Point) -> str:
    center = f'cx="{_coordinate(point.x)}" cy="{_coordinate(1 - point.y)}"'
    return f'<circle {center} r="2.2"><title>{escape(point.tooltip)}</title></circle>'


def _bar(bar: HistogramBar) -> str:
    position = f'x="{_coordinate(bar.left)}" y="{_coordinate(1 - bar.height)}"'
    size = f'width="{_coordinate(bar.right - bar.left)}" height="{_coordinate(bar.height)}"'
    return f"<rect {position} {size}><title>{escape(bar.tooltip)}</title></rect>"


def _coordinate(fraction: float) -> str:
    return f"{_SIZE * fraction:.1f}".removesuffix(".0")
