"""The plot of speed and accuracy."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.competitors.jobs import Row

COLORS = {"blitznet": "#c2410c", "detector": "#2563eb", "segmenter": "#0f766e", "pair": "#7c3aed"}
MARKERS = {"float32": "o", "bfloat16": "s", "int8": "^"}
_MIXED_MARKER = "D"


def draw(path: Path, single: Sequence[Row], final: Sequence[Row]) -> None:
    """Plot frames per second, from array to result, against AP50 and against mIoU.

    Filled markers have the accuracy of the same file, hollow ones that of the float32 file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    rows = [*single, *(row for row in final if row.kind == "pair")]
    _panel(figure.add_subplot(1, 2, 1), rows, "AP50 over three sets, percent", lambda row: row.ap50)
    _panel(figure.add_subplot(1, 2, 2), rows, "mean IoU on VOC2012 val, percent", lambda row: row.miou)
    figure.supxlabel("circle float32, square bfloat16, triangle int8; hollow: accuracy of the float32 file", fontsize=8)
    figure.savefig(path, dpi=130)


def _panel(axes: Any, rows: Sequence[Row], title: str, accuracy: Callable[[Row], float | None]) -> None:
    for name in dict.fromkeys(row.title for row in rows):
        rows_of_name = [row for row in rows if row.title == name]
        default = _float32_accuracy(name, rows, accuracy)
        if default is None:
            continue
        points = [(row, 100 * (accuracy(row) or default)) for row in rows_of_name]
        color = COLORS[rows_of_name[0].kind]
        axes.plot([row.frames_per_second for row, _ in points], [value for _, value in points], color=color, lw=0.5)
        for row, value in points:
            face = color if accuracy(row) is not None else "white"
            marker = MARKERS.get(row.precision, _MIXED_MARKER)
            axes.scatter(row.frames_per_second, value, marker=marker, edgecolors=color, facecolors=face, zorder=2)
        fastest, value = max(points, key=lambda point: point[0].frames_per_second)
        position = (fastest.frames_per_second, value)
        axes.annotate(name, position, (-4, 6), textcoords="offset points", fontsize=7, ha="right", color=color)
    axes.set_xlim(left=0)
    axes.margins(y=0.15)
    axes.set_xlabel("frames per second, array to result")
    axes.set_ylabel(title)
    axes.grid(visible=True, alpha=0.3)


def _float32_accuracy(name: str, rows: Sequence[Row], accuracy: Callable[[Row], float | None]) -> float | None:
    """Accuracy of an entry or of one of its parts, in float32 if it was scored, else in another precision."""
    parts = [row for part in name.split(" + ") for row in rows if row.title == part]
    values = [value for row in sorted(parts, key=lambda row: row.precision != "float32") if (value := accuracy(row))]
    return values[0] if values else None
