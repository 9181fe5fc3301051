"""Results as labelme's JSON: rectangles, or labelme's masks (5.3 and later)."""

import base64
from io import BytesIO
from typing import Any

from PIL import Image as Pillow

from blitznet.postprocess.instances import Instances
from blitznet.postprocess.result import Result

FORMAT_VERSION = "5.5.0"
"""labelme version of the format"""


def to_labelme(result: Result, image_path: str, *, masks: bool = False) -> dict[str, Any]:
    """The content of the JSON file beside an image.

    Args:
        result: N detections.
        image_path: The image's path relative to the JSON file.
        masks: Whether to write instance masks instead of rectangles.

    Returns:
        The file's dict, with a shape for each detection.
    """
    instances = result.instances() if masks else None
    return {
        "version": FORMAT_VERSION,
        "flags": {},
        "shapes": [_shape(result, index, instances) for index in range(len(result))],
        "imagePath": image_path,
        "imageData": None,
        "imageHeight": result.size[0],
        "imageWidth": result.size[1],
    }


def _shape(result: Result, index: int, instances: Instances | None) -> dict[str, Any]:
    x1, y1, x2, y2 = (round(float(coordinate), 2) for coordinate in result.boxes[index])
    shape: dict[str, Any] = {
        "label": result.class_names[result.labels[index]],
        "points": [[x1, y1], [x2, y2]],
        "group_id": None,
        "description": f"{result.scores[index]:.2f}",
        "shape_type": "rectangle",
        "flags": {},
        "mask": None,
    }
    if instances is None or not instances.crop_masks[index].any():
        return shape
    rows, columns = instances.crops[index]
    corners = [[columns.start, rows.start], [columns.stop - 1, rows.stop - 1]]  # labelme includes both corners
    content = BytesIO()
    Pillow.fromarray(instances.crop_masks[index]).save(content, "PNG")
    return {**shape, "shape_type": "mask", "points": corners, "mask": base64.b64encode(content.getvalue()).decode()}
