"""Detections as labelme's JSON, to begin annotating from: rectangles, or labelme's own masks (5.3 and later)."""

import base64
from io import BytesIO
from typing import Any

from PIL import Image as Pillow

from blitznet.postprocess.instances import Instances
from blitznet.postprocess.result import Result

VERSION = "5.5.0"
"""of labelme whose format this is"""


def to_labelme(result: Result, image: str, *, masks: bool = False) -> dict[str, Any]:
    """What labelme opens beside `image`, its file's name; with `masks` the pixels of each detection."""
    found = result.instances() if masks else None
    return {
        "version": VERSION,
        "flags": {},
        "shapes": [_shape(result, index, found) for index in range(len(result))],
        "imagePath": image,
        "imageData": None,
        "imageHeight": result.size[0],
        "imageWidth": result.size[1],
    }


def _shape(result: Result, index: int, found: Instances | None) -> dict[str, Any]:
    x1, y1, x2, y2 = (round(float(side), 2) for side in result.boxes[index])
    shape: dict[str, Any] = {
        "label": result.class_names[result.labels[index]],
        "points": [[x1, y1], [x2, y2]],
        "group_id": None,
        "description": f"{result.scores[index]:.2f}",
        "shape_type": "rectangle",
        "flags": {},
        "mask": None,
    }
    if found is None or not found.crop_masks[index].any():
        return shape
    rows, columns = found.crops[index]
    corners = [[columns.start, rows.start], [columns.stop - 1, rows.stop - 1]]  # both are inside
    content = BytesIO()
    Pillow.fromarray(found.crop_masks[index]).save(content, "PNG")
    return {**shape, "shape_type": "mask", "points": corners, "mask": base64.b64encode(content.getvalue()).decode()}
