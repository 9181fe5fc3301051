"""Boxes as YOLO's text files: a line for each, its class's number, and centre and size as fractions of the image."""

import json
from collections.abc import Sequence

from blitznet.postprocess.result import Result


def to_yolo_lines(result: Result, *, scores: bool = False) -> str:
    """`class cx cy w h`, and with `scores` the score behind it."""
    height, width = result.size
    lines = []
    for (x1, y1, x2, y2), label, score in zip(result.boxes.tolist(), result.labels, result.scores, strict=True):
        place = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
        numbers = [f"{value:.6f}" for value in (*place, *((score,) if scores else ()))]
        lines.append(" ".join([str(label), *numbers]) + "\n")
    return "".join(lines)


def yolo_names(names: Sequence[str]) -> str:
    """The data.yaml that says what the numbers are; names are quoted, for any text may be one."""
    return "names:\n" + "".join(f"  {number}: {json.dumps(name)}\n" for number, name in enumerate(names))
