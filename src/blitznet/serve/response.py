"""Responses: a Result as JSON, as the annotated image, or as the class map."""

import json
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image as Pillow

from blitznet.core.image import ImageSource
from blitznet.core.rle import encode_rle
from blitznet.drawing.annotate import annotate, palette_png
from blitznet.postprocess.result import Result
from blitznet.serve.request import PredictRequest


def render_response(request: PredictRequest, image: ImageSource, result: Result) -> bytes:
    """The body of the response to a request."""
    if request.format == "overlay":
        return render_overlay(image, result)
    if request.format == "class_map":
        return render_class_map(result)
    return json.dumps(to_payload(result, class_map=request.class_map, panoptic=request.panoptic)).encode()


def to_payload(result: Result, *, class_map: bool, panoptic: bool) -> dict[str, Any]:
    """A result for JSON.

    Args:
        result: Detections, and the class map if the model has one.
        class_map: Whether to add `class_map`: run lengths of 0 for background and class id + 1.
        panoptic: Whether to add `panoptic`: run lengths of segment ids, and `segments_info`.

    Returns:
        `width`, `height`, `detections`, `class_names`, and the requested maps; see `core/rle.py` for run lengths.
    """
    payload = {**result.to_dict(), "class_names": list(result.class_names)}
    if class_map and result.class_map is not None:
        payload["class_map"] = encode_rle(result.class_map)
    if panoptic and result.class_map is not None:
        panoptic_result = result.panoptic()
        segments_info = [
            {
                "id": segment.id,
                "class_id": segment.label,
                "class_name": result.class_names[segment.label],
                "score": segment.score,
                "area": segment.area,
            }
            for segment in panoptic_result.segments_info
        ]
        payload["panoptic"] = {"segmentation": encode_rle(panoptic_result.segmentation), "segments_info": segments_info}
    return payload


def render_overlay(image: ImageSource, result: Result) -> bytes:
    """The annotated image as PNG."""
    return _encode_png(Pillow.fromarray(annotate(image.read(), result)))


def render_class_map(result: Result) -> bytes:
    """The class map as palette PNG, whose pixel values are class id + 1; all background if the model has none."""
    class_map = np.zeros(result.size, np.uint8) if result.class_map is None else result.class_map
    return _encode_png(palette_png(class_map))


def _encode_png(image: Pillow.Image) -> bytes:
    content = BytesIO()
    image.save(content, "PNG", compress_level=1)
    return content.getvalue()
