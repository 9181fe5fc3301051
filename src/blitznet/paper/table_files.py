"""A reproduced table as files: Markdown to read, CSV to compute with, a plot; our figures beside the paper's."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from blitznet.core.files import atomic_write
from blitznet.paper.reproduce import ROUNDS, Made
from blitznet.paper.tables import Figure, Protocol, Row, Table
from blitznet.report.markdown import grid

SUFFIXES = (".md", ".csv", ".png")
_PROTOCOLS: dict[Protocol, str] = {
    "clean": "Clean protocol: images of the evaluation sets are left out of training.",
    "authors": "The authors' protocol: evaluation images that are in the training sets too are learned from.",
}
_WIDTH = 4.5
"""inches of a figure's part of the plot"""


@dataclass(frozen=True, slots=True)
class Line:
    """One number of the table: ours over all seeds beside the paper's, in percent."""

    kind: str
    """score, or lead: how far the table's own row is ahead"""
    row: str
    figure: str
    paper: float | None
    ours: float
    """mean over the seeds"""
    low: float
    """score: the lowest of the seeds; lead: the low end of its 95 % interval"""
    high: float
    seeds: int


def write_table(made: Made) -> list[Path]:
    """Write the table into its plan's folder; gives the files."""
    plan = made.plan
    paths = [plan.folder / f"{plan.table.name}{suffix}" for suffix in SUFFIXES]
    atomic_write(paths[0], markdown(made).encode())
    atomic_write(paths[1], as_csv(made).encode())
    atomic_write(paths[2], _plot(made))
    return paths


def lines(made: Made) -> list[Line]:
    """Every number of the table, scores first."""
    return [*_scores(made), *_leads(made)]


def _scores(made: Made) -> Iterator[Line]:
    for row in made.plan.table.rows:
        for figure in made.plan.table.figures:
            values = [100 * value for value in made.scores.get((row.name, figure.name), ())]
            if values:
                paper = row.paper.get(figure.name)
                yield Line("score", row.name, figure.name, paper, mean(values), min(values), max(values), len(values))


def _leads(made: Made) -> Iterator[Line]:
    table = made.plan.table
    for row in table.rows:
        for figure in table.figures:
            found = made.leads.get((row.name, figure.name))
            if found is not None:
                ours, low, high = (100 * value for value in (found.difference, *found.interval))
                paper = _paper_lead(table.row(table.ours), row, figure)
                yield Line("lead", row.name, figure.name, paper, ours, low, high, made.plan.seeds)


def _paper_lead(ours: Row, other: Row, figure: Figure) -> float | None:
    if figure.name not in ours.paper or figure.name not in other.paper:
        return None
    return ours.paper[figure.name] - other.paper[figure.name]


def as_csv(made: Made) -> str:
    """A line for every number."""
    plan, text = made.plan, io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow("table scale protocol kind row figure paper ours low high seeds".split())
    for one in lines(made):
        paper = "" if one.paper is None else f"{one.paper:.1f}"
        numbers = [paper, *(f"{value:.2f}" for value in (one.ours, one.low, one.high)), one.seeds]
        writer.writerow([plan.table.name, plan.table.scale, plan.protocol, one.kind, one.row, one.figure, *numbers])
    return text.getvalue()


def markdown(made: Made) -> str:
    """The whole page."""
    plan, table = made.plan, made.plan.table
    head = f"# {table.name}: {table.title}\n\n{_how(made)}\n\n## Figures, percent\n\n"
    leads = f"\n\n## How far {table.ours} is ahead, points\n\n{_interval_text(plan.seeds)}\n\n"
    return head + _score_table(made) + leads + _lead_table(made) + "\n"


def _how(made: Made) -> str:
    """What was done, in sentences."""
    plan, table = made.plan, made.plan.table
    first = plan.config(table.rows[0], 0)
    seeds = f"{plan.seeds} seed" + ("s: mean (lowest to highest)" if plan.seeds > 1 else "")
    size = f" at {first.size} px" if first.size else ""
    steps = _either({row.config.steps for row in table.rows})
    images = _either({row.config.batch for row in table.rows})
    judged = "; ".join(f"{_names_on(table, data)} on `{data}`" for data in table.sets)
    protocol = _PROTOCOLS[plan.protocol]
    return (
        f"Scale {table.scale}{size}, {steps} steps of {images} images, {seeds}. Learned: {_learned(table)}. "
        f"Scored: {judged}. {protocol}"
    )


def _names_on(table: Table, data: str) -> str:
    return ", ".join(figure.name for figure in table.figures if figure.data == data)


def _either(counts: set[int]) -> str:
    return " or ".join(f"{count:,}" for count in sorted(counts))


def _learned(table: Table) -> str:
    """Which rows from which sets."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for row in table.rows:
        rows.setdefault(row.config.data, []).append(row.name)
    return "; ".join(
        f"{', '.join(names)} from {' and '.join(f'`{text}`' for text in sets)}" for sets, names in rows.items()
    )


def _interval_text(seeds: int) -> str:
    what, again = "The difference", ""
    if seeds > 1:
        what, again = "The mean over the seeds", ", and the seeds drawn as well"
    return (
        f"{what}, and the middle 95 % of what {ROUNDS} draws of the images make of it, the same images for both rows"
        f"{again}. Average precision is compared at 0.5 by the area rule."
    )


def _score_table(made: Made) -> str:
    """A row of the table each; the paper's column only where the paper has the figure."""
    found = {(one.row, one.figure): one for one in _scores(made)}
    table, titles = made.plan.table, ["row"]
    rows = [[row.name] for row in table.rows]
    for figure in table.figures:
        if any(figure.name in row.paper for row in table.rows):
            titles.append(f"{figure.name}, paper")
            for row, cells in zip(table.rows, rows, strict=True):
                cells.append(_number(row.paper.get(figure.name)))
        titles.append(f"{figure.name}, ours")
        for row, cells in zip(table.rows, rows, strict=True):
            cells.append(_spread(found.get((row.name, figure.name))))
    return grid(titles, rows)


def _lead_table(made: Made) -> str:
    rows = [
        [one.row, one.figure, _signed(one.paper), _signed(one.ours), f"{one.low:+.1f} to {one.high:+.1f}"]
        for one in _leads(made)
    ]
    return grid(["ahead of", "figure", "paper", "ours", "95 % interval"], rows)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1f}"


def _spread(one: Line | None) -> str:
    if one is None:
        return "–"
    return f"{one.ours:.1f}" + (f" ({one.low:.1f} to {one.high:.1f})" if one.seeds > 1 else "")


def _plot(made: Made) -> bytes:
    """A PNG: for each figure a bar a row, whiskers from the lowest to the highest seed, the paper's as a line."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figures = made.plan.table.figures
    page, axes = plt.subplots(
        1, len(figures), figsize=(_WIDTH * len(figures), 4), squeeze=False, constrained_layout=True
    )
    for axis, figure in zip(axes[0], figures, strict=True):
        shown = [one for one in _scores(made) if one.figure == figure.name]
        whiskers = [[one.ours - one.low for one in shown], [one.high - one.ours for one in shown]]
        axis.bar([one.row for one in shown], [one.ours for one in shown], yerr=whiskers, capsize=5, color="#7aa6d8")
        known = [one for one in shown if one.paper is not None]
        if known:
            axis.plot([one.row for one in known], [one.paper for one in known], "k_", markersize=22, label="paper")
            axis.legend()
        axis.set_title(f"{figure.name}, percent")
        axis.tick_params(axis="x", rotation=20)
        axis.grid(visible=True, axis="y", alpha=0.3)
    stream = io.BytesIO()
    page.savefig(stream, dpi=120)
    plt.close(page)
    return stream.getvalue()
