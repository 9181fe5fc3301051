"""Tables of an evaluation for the terminal: scores, classes and the comparison of two predictors."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from blitznet.metrics.bootstrap import Difference
from blitznet.metrics.report import ClassScore, Interval, Report, SetScores
from blitznet.report.percent import percent, percent_with_interval

if TYPE_CHECKING:
    from rich.table import Table

SCORE_COLUMNS = (
    "images",
    "AP50 area",
    "AP50 11-point",
    "AP50 frequent",
    "COCO AP",
    "COCO AP50",
    "box ECE",
    "mIoU",
    "pixel ECE",
)
"""columns of the score table; ECE is the expected calibration error"""
_INTERVAL_COLUMNS = ("AP50 area", "AP50 frequent", "mIoU")


def render_score_table(report: Report) -> "Table":
    """One row for each set, and one for all sets, in percent."""
    from rich.table import Table

    table = Table(caption="percent; in brackets: 95 % intervals" if report.total.intervals else "percent")
    table.add_column("set", overflow="fold")
    for title in SCORE_COLUMNS:
        has_interval = report.total.intervals and title in _INTERVAL_COLUMNS
        table.add_column(title, justify="right", min_width=len("(50.0 to 60.0)") if has_interval else None)
    for scores in report.sets:
        table.add_row(*_score_row(scores))
    if len(report.sets) > 1:
        table.add_section()
        table.add_row(*_score_row(report.total), style="bold")
    return table


def unscored_lines(scores: SetScores) -> list[str]:
    """One line for boxes and one for pixels of classes that the sets do not annotate, which no score counts."""
    boxes, pixels = scores.detection.without_objects, scores.segmentation.without_pixels
    lines = []
    if boxes:
        listed = ", ".join(f"{name} {count}" for name, count in boxes.items())
        lines.append(f"detected with a score of 0.5 or more, but no such object is annotated in the sets: {listed}")
    if pixels:
        listed = ", ".join(f"{name} {percent(fraction, digits=2)}" for name, fraction in pixels.items())
        lines.append(f"predicted in class maps, but no such pixel is annotated in the sets, percent: {listed}")
    return lines


def _score_row(scores: SetScores) -> list[str]:
    boxes, pixels, intervals = scores.detection, scores.segmentation, scores.intervals
    return [
        scores.title,
        str(scores.images),
        _interval_cell(boxes.ap50_area, intervals.get("ap50_area")),
        percent(boxes.ap50_11point),
        _interval_cell(boxes.ap50_frequent, intervals.get("ap50_frequent")),
        percent(boxes.coco_ap),
        percent(boxes.coco_ap50),
        percent(boxes.calibration_error),
        _interval_cell(pixels.miou, intervals.get("miou")),
        percent(pixels.calibration_error),
    ]


def _interval_cell(value: float | None, interval: Interval | None) -> str:
    """The figure, and its interval on a line of its own, so that a narrow table does not break the interval."""
    return percent_with_interval(value, interval).replace(" (", "\n(")


def render_class_table(scores: SetScores) -> "Table":
    """One row for each class that occurs, in percent; background is first if class maps were scored."""
    from rich.table import Table
    from rich.text import Text

    boxes, pixels = scores.detection.per_class, scores.segmentation.per_class
    table = Table(caption=f"percent; {scores.title}")
    table.add_column("class")
    for title in ("objects", "AP50 area", "images with mask", "IoU"):
        table.add_column(title, justify="right")
    for name in dict.fromkeys((*pixels, *boxes)):
        table.add_row(Text(name), *_class_cells(boxes.get(name)), *_class_cells(pixels.get(name)))
    return table


def _class_cells(score: ClassScore | None) -> tuple[str, str]:
    return ("-", "-") if score is None else (str(score.count), percent(score.score))


def render_difference_table(differences: Mapping[str, Difference], first: str, second: str) -> "Table":
    """One row for each metric of two result files, in percent."""
    from rich.table import Table
    from rich.text import Text

    table = Table(caption="percent; all sets as one")
    table.add_column("metric")
    for title in (first, second, "difference", "95 % interval"):
        table.add_column(Text(title), justify="right", overflow="fold")
    for name, row in differences.items():
        low, high = (percent(end, signed=True) for end in row.interval)
        difference = percent(row.difference, signed=True)
        table.add_row(name, percent(row.first), percent(row.second), difference, f"{low} to {high}")
    return table
