"""Responses: a Result as JSON, as the annotated image, or as the class map."""

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from blitznet.core.image import ImageSource
from blitznet.core.rle import encode_rle
from blitznet.drawing.annotate import JPEG_QUALITY, annotate_pil, palette_png
from blitznet.postprocess.result import Result
from blitznet.serve.request import OverlayType, PredictRequest

_CHUNK = 1 << 15
"""maximum number of values that one call converts to text, which holds the GIL"""


def render_response(request: PredictRequest, image: ImageSource, result: Result) -> bytes:
    """The body of the response to a request."""
    if request.format == "overlay":
        return render_overlay(image, result, request.overlay_type)
    if request.format == "class_map":
        return render_class_map(result)
    return encode_json(to_payload(result, class_map=request.class_map, panoptic=request.panoptic))


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


def encode_json(payload: Mapping[str, Any]) -> bytes:
    """JSON of an object, long lists of its values in chunks so that other threads run in between."""
    return b"{" + b", ".join(json.dumps(key).encode() + b": " + _encode_value(payload[key]) for key in payload) + b"}"


def _encode_value(value: Any) -> bytes:
    if isinstance(value, Mapping):
        return encode_json(value)
    if isinstance(value, list) and len(value) > _CHUNK:
        chunks = (value[start : start + _CHUNK] for start in range(0, len(value), _CHUNK))
        return b"[" + b", ".join(json.dumps(chunk)[1:-1].encode() for chunk in chunks) + b"]"
    return json.dumps(value).encode()


def json_numbers(array: NDArray[Any]) -> bytes:
    """The values of an array in JSON, separated by commas."""
    flat = array.reshape(-1)
    if not len(flat):
        return b""
    if array.dtype == np.uint8:
        return _json_bytes(flat)
    chunks = (flat[start : start + _CHUNK] for start in range(0, len(flat), _CHUNK))
    return b", ".join(json.dumps(chunk.tolist())[1:-1].encode() for chunk in chunks)


def _json_bytes(values: NDArray[np.uint8]) -> bytes:
    """Values 0 to 255 in JSON: each is padded with spaces to the same width, so a table maps all of them at once."""
    digits = len(str(int(values.max())))
    texts = "".join(f"{value:{digits}d}," for value in range(10**digits if digits < 3 else 256))
    table = np.frombuffer(texts.encode(), np.uint8).reshape(-1, digits + 1)
    step = 32 * _CHUNK
    return b"".join(table[values[start : start + step]].tobytes() for start in range(0, len(values), step))[:-1]


def render_overlay(image: ImageSource, result: Result, media_type: OverlayType = "image/jpeg") -> bytes:
    """The annotated image as JPEG or PNG."""
    annotated = image.read_pil()
    annotate_pil(annotated, result)
    if media_type == "image/png":
        return _encode_png(annotated)
    content = BytesIO()
    annotated.save(content, "JPEG", quality=JPEG_QUALITY)
    return content.getvalue()


def render_class_map(result: Result) -> bytes:
    """The class map as palette PNG, whose pixel values are class id + 1; all background if the model has none."""
    class_map = np.zeros(result.size, np.uint8) if result.class_map is None else result.class_map
    return _encode_png(palette_png(class_map))


def _encode_png(image: Pillow.Image) -> bytes:
    content = BytesIO()
    image.save(content, "PNG", compress_level=1)
    return content.getvalue()
