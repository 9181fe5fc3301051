"""Files of a reproduced table: Markdown, CSV and a plot, with the paper's numbers beside ours."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from blitznet.core.files import atomic_write
from blitznet.paper.reproduce import ROUNDS, TableResult
from blitznet.paper.tables import LeakProtocol, MetricColumn, PaperTable, TableRow
from blitznet.report.markdown import markdown_table

_SUFFIXES = (".md", ".csv", ".png")
_PROTOCOLS: dict[LeakProtocol, str] = {
    "clean": "Clean protocol: images of the evaluation sets are left out of training.",
    "authors": "The authors' protocol: images of the evaluation sets that are in the training sets are trained on.",
}
_NO_LEAKS = "The training sets of this table contain none, so both protocols are equal."
"""added for table1: VOC2012's trainval lists no image of VOC2007, other than the authors' first lists"""
_PLOT_WIDTH = 4.5
"""inches per column of the table"""


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One number of the table over all seeds, beside the paper's, in percent."""

    kind: str
    """score, or difference: reference row minus this row"""
    row: str
    column: str
    paper: float | None
    ours: float
    """mean over the seeds"""
    low: float
    """lowest score of the seeds; low end of the 95 % interval of a difference"""
    high: float
    """highest score of the seeds; high end of the 95 % interval of a difference"""
    seeds: int


def write_table(result: TableResult) -> list[Path]:
    """Write the table into its plan's folder; returns the files."""
    plan = result.plan
    paths = [plan.folder / f"{plan.table.name}{suffix}" for suffix in _SUFFIXES]
    atomic_write(paths[0], to_markdown(result).encode())
    atomic_write(paths[1], to_csv(result).encode())
    atomic_write(paths[2], _plot(result))
    return paths


def csv_rows(result: TableResult) -> list[CsvRow]:
    """Every number of the table, scores first."""
    return [*_scores(result), *_differences(result)]


def _scores(result: TableResult) -> Iterator[CsvRow]:
    for row in result.plan.table.rows:
        for column in result.plan.table.columns:
            values = [100 * value for value in result.scores.get((row.name, column.name), ())]
            if values:
                paper = row.paper.get(column.name)
                yield CsvRow("score", row.name, column.name, paper, mean(values), min(values), max(values), len(values))


def _differences(result: TableResult) -> Iterator[CsvRow]:
    table = result.plan.table
    for row in table.rows:
        for column in table.columns:
            difference = result.differences.get((row.name, column.name))
            if difference is not None:
                ours, low, high = (100 * value for value in (difference.difference, *difference.interval))
                paper = _paper_difference(table.row(table.reference), row, column)
                yield CsvRow("difference", row.name, column.name, paper, ours, low, high, result.plan.seeds)


def _paper_difference(reference: TableRow, row: TableRow, column: MetricColumn) -> float | None:
    if column.name not in reference.paper or column.name not in row.paper:
        return None
    return reference.paper[column.name] - row.paper[column.name]


def to_csv(result: TableResult) -> str:
    """The table as CSV, one line for every number."""
    plan, text = result.plan, io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow("table scale protocol kind row column paper ours low high seeds".split())
    for row in csv_rows(result):
        paper = "" if row.paper is None else f"{row.paper:.1f}"
        numbers = [paper, *(f"{value:.2f}" for value in (row.ours, row.low, row.high)), row.seeds]
        writer.writerow([plan.table.name, plan.table.scale, plan.protocol, row.kind, row.row, row.column, *numbers])
    return text.getvalue()


def to_markdown(result: TableResult) -> str:
    """The table as a Markdown page with scores and differences."""
    plan, table = result.plan, result.plan.table
    head = f"# {table.name}: {table.title}\n\n{_conditions(result)}\n\n## Scores, percent\n\n"
    differences = f"\n\n## Difference of {table.reference} to each row, points\n\n{_interval_note(plan.seeds)}\n\n"
    return head + _score_table(result) + differences + _difference_table(result) + "\n"


def _conditions(result: TableResult) -> str:
    """How the runs were trained and scored, in sentences."""
    plan, table = result.plan, result.plan.table
    config = plan.config(table.rows[0], 0)
    seeds = f"{plan.seeds} seed" + ("s: mean (lowest to highest)" if plan.seeds > 1 else "")
    size = f" at {config.imgsz[0]} px" if config.imgsz else ""
    steps = _join_counts({row.config.steps for row in table.rows})
    images = _join_counts({row.config.batch for row in table.rows})
    protocol = _PROTOCOLS[plan.protocol]
    if table.name == "table1" and plan.protocol == "authors":
        protocol = f"{protocol} {_NO_LEAKS}"
    scored = "; ".join(f"{_columns_on(table, data)} on `{data}`" for data in table.eval_sets)
    return (
        f"Scale {table.scale}{size}, {steps} steps of {images} images, {seeds}. "
        f"Training sets: {_training_sets(table)}. Metrics: {scored}. {protocol}"
    )


def _columns_on(table: PaperTable, data: str) -> str:
    return ", ".join(column.name for column in table.columns if column.data == data)


def _join_counts(counts: set[int]) -> str:
    return " or ".join(f"{count:,}" for count in sorted(counts))


def _training_sets(table: PaperTable) -> str:
    """The names of the rows, grouped by their training sets."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for row in table.rows:
        rows.setdefault(row.config.data, []).append(row.name)
    return "; ".join(
        f"{', '.join(names)} on {' and '.join(f'`{text}`' for text in sets)}" for sets, names in rows.items()
    )


def _interval_note(seeds: int) -> str:
    value, resampled = "The difference", ""
    if seeds > 1:
        value, resampled = "The mean difference over the seeds", "; the seeds are resampled too"
    return (
        f"{value}, and its 95 % bootstrap interval from {ROUNDS} draws of image weights, the same for both rows"
        f"{resampled}. Average precision is compared at IoU 0.5 by the area rule."
    )


def _score_table(result: TableResult) -> str:
    """A line for each row of the table; a metric has a column of the paper only if the paper has numbers for it."""
    scores = {(score.row, score.column): score for score in _scores(result)}
    table, titles = result.plan.table, ["row"]
    rows = [[row.name] for row in table.rows]
    for column in table.columns:
        if any(column.name in row.paper for row in table.rows):
            titles.append(f"{column.name}, paper")
            for row, cells in zip(table.rows, rows, strict=True):
                cells.append(_format(row.paper.get(column.name)))
        titles.append(f"{column.name}, ours")
        for row, cells in zip(table.rows, rows, strict=True):
            cells.append(_format_range(scores.get((row.name, column.name))))
    return markdown_table(titles, rows)


def _difference_table(result: TableResult) -> str:
    rows = [
        [row.row, row.column, _format_signed(row.paper), _format_signed(row.ours), f"{row.low:+.1f} to {row.high:+.1f}"]
        for row in _differences(result)
    ]
    return markdown_table(["row", "metric", "paper", "ours", "95 % interval"], rows)


def _format(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _format_signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1f}"


def _format_range(score: CsvRow | None) -> str:
    if score is None:
        return "–"
    return f"{score.ours:.1f}" + (f" ({score.low:.1f} to {score.high:.1f})" if score.seeds > 1 else "")


def _plot(result: TableResult) -> bytes:
    """A PNG with one chart per column: a bar per row, whiskers over the seeds, the paper's numbers as lines."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    columns = result.plan.table.columns
    figure, axes = plt.subplots(
        1, len(columns), figsize=(_PLOT_WIDTH * len(columns), 4), squeeze=False, constrained_layout=True
    )
    for axis, column in zip(axes[0], columns, strict=True):
        scores = [score for score in _scores(result) if score.column == column.name]
        whiskers = [[score.ours - score.low for score in scores], [score.high - score.ours for score in scores]]
        names, values = [score.row for score in scores], [score.ours for score in scores]
        axis.bar(names, values, yerr=whiskers, capsize=5, color="#7aa6d8")
        published = [score for score in scores if score.paper is not None]
        if published:
            paper = [score.paper for score in published]
            axis.plot([score.row for score in published], paper, "k_", markersize=22, label="paper")
            axis.legend()
        axis.set_title(f"{column.name}, percent")
        axis.tick_params(axis="x", rotation=20)
        axis.grid(visible=True, axis="y", alpha=0.3)
    stream = io.BytesIO()
    figure.savefig(stream, dpi=120)
    plt.close(figure)
    return stream.getvalue()
