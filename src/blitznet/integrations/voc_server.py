"""Results as the files of the evaluation server of Pascal VOC: comp4 for boxes, comp6 for class maps.

The names are those of the devkit's documentation (VOC2012, section 9): training with other data than VOC's own.
"""

import re
from io import BytesIO

from PIL import Image as Pillow

from blitznet.core.classes import palette
from blitznet.postprocess.result import Result

VOC_DETECTIONS = "results/VOC2012/Main/comp4_det_test_{class_name}.txt"
"""file of a class, with a line for each detection in all images"""
VOC_CLASS_MAPS = "results/VOC2012/Segmentation/comp6_test_cls/{image_id}.png"
"""file of an image"""


def to_voc_lines(result: Result, image_id: str) -> dict[str, list[str]]:
    """Lines `ID SCORE XMIN YMIN XMAX YMAX` of an image by class name, without line breaks.

    VOC counts pixels from 1 and includes the last one.

    Args:
        result: Detections.
        image_id: Name of the image without suffix.

    Returns:
        The lines of every class that was detected.
    """
    lines: dict[str, list[str]] = {}
    for detection in result:
        x1, y1, x2, y2 = detection.box
        numbers = (x1 + 1, y1 + 1, x2, y2)
        text = " ".join([image_id, f"{detection.score:.6f}", *(f"{value:.6f}" for value in numbers)])
        lines.setdefault(detection.class_name, []).append(text)
    return lines


def to_voc_png(result: Result) -> bytes | None:
    """The class map as an indexed PNG: 0 background, label + 1; None without a segmentation."""
    if result.class_map is None:
        return None
    image, content = Pillow.fromarray(result.class_map, "P"), BytesIO()
    image.putpalette(palette().tobytes())
    image.save(content, "PNG")
    return content.getvalue()


def voc_file(class_name: str) -> str:
    """The file of a class, which contains the detections in all images; separators of folders become `_`."""
    return VOC_DETECTIONS.format(class_name=re.sub(r"[/\\\0]", "_", class_name))
