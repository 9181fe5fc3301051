"""Boxes as YOLO's text labels: class id, center and size as fractions of the image."""

import json
from collections.abc import Sequence

from blitznet.postprocess.result import Result


def to_yolo_lines(result: Result, *, scores: bool = False) -> str:
    """The content of an image's label file: a line `class cx cy w h` for each detection.

    Args:
        result: Detections.
        scores: Whether to append the score to each line.
    """
    height, width = result.size
    lines = []
    for (x1, y1, x2, y2), label, score in zip(result.boxes.tolist(), result.labels, result.scores, strict=True):
        box = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
        numbers = [f"{value:.6f}" for value in (*box, *((score,) if scores else ()))]
        lines.append(" ".join([str(label), *numbers]) + "\n")
    return "".join(lines)


def to_yolo_data_yaml(class_names: Sequence[str]) -> str:
    """The `names` of a data.yaml, quoted, since a class name may be any text."""
    return "names:\n" + "".join(f"  {class_id}: {json.dumps(name)}\n" for class_id, name in enumerate(class_names))
