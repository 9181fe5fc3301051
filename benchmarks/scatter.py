"""The picture of speed and accuracy."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peers import Row

COLOURS = {"ours": "#c2410c", "detector": "#2563eb", "segmenter": "#0f766e", "pair": "#7c3aed"}
MARKS = {"float32": "o", "bfloat16": "s", "int8": "^"}
_MIXED = "D"


def draw(path: Path, alone: "Sequence[Row]", final: "Sequence[Row]") -> None:
    """Frames per second of the whole way against AP50 and against mIoU.

    Filled where the accuracy is that of the very file; hollow, at the float32 file's, where it was not scored.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    rows = [*alone, *(row for row in final if row.kind == "pair")]
    _panel(figure.add_subplot(1, 2, 1), rows, "AP50 pooled over three sets, percent", lambda row: row.ap50)
    _panel(figure.add_subplot(1, 2, 2), rows, "mean IoU on VOC2012 val, percent", lambda row: row.miou)
    figure.supxlabel("circle float32, square bfloat16, triangle int8; hollow: accuracy of the float32 file", fontsize=8)
    figure.savefig(path, dpi=130)


def _panel(axes: Any, rows: "Sequence[Row]", title: str, accuracy: "Callable[[Row], float | None]") -> None:
    for name in dict.fromkeys(row.title for row in rows):
        ours = [row for row in rows if row.title == name]
        known = _float32(name, rows, accuracy)
        if known is None:
            continue
        points = [(row, 100 * (accuracy(row) or known)) for row in ours]
        colour = COLOURS[ours[0].kind]
        axes.plot([row.frames_per_second for row, _ in points], [value for _, value in points], color=colour, lw=0.5)
        for row, value in points:
            face = colour if accuracy(row) is not None else "white"
            mark = MARKS.get(row.precision, _MIXED)
            axes.scatter(row.frames_per_second, value, marker=mark, edgecolors=colour, facecolors=face, zorder=2)
        fastest, value = max(points, key=lambda point: point[0].frames_per_second)
        place = (fastest.frames_per_second, value)
        axes.annotate(name, place, (-4, 6), textcoords="offset points", fontsize=7, ha="right", color=colour)
    axes.set_xlim(left=0)
    axes.margins(y=0.15)
    axes.set_xlabel("frames per second, array to result")
    axes.set_ylabel(title)
    axes.grid(visible=True, alpha=0.3)


def _float32(name: str, rows: "Sequence[Row]", accuracy: "Callable[[Row], float | None]") -> float | None:
    """Accuracy of what has this name, or of a part of it, in float32; or in whatever was scored."""
    parts = [row for part in name.split(" + ") for row in rows if row.title == part]
    found = [value for row in sorted(parts, key=lambda row: row.precision != "float32") if (value := accuracy(row))]
    return found[0] if found else None
