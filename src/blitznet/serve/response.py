"""What goes out: a Result as JSON, or as a picture."""

import json
from collections.abc import Callable
from io import BytesIO
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from blitznet.core.image import ImageSource
from blitznet.core.rle import run_lengths
from blitznet.drawing.annotate import annotate, palette_png
from blitznet.postprocess.result import Result


def to_payload(result: Result, *, pixels: bool, instances: bool) -> dict[str, Any]:
    """width, height, detections, and if asked for class_map and panoptic as runs: value, count, value, count ...

    Runs go row by row, from the top; a class map's values are 0 for background and 1.. for `names`.
    """
    answer = {**result.to_dict(), "names": list(result.class_names)}
    if pixels and result.class_map is not None:
        answer["class_map"] = run_length_encode(result.class_map)
    if instances and result.class_map is not None:
        found = result.panoptic()
        segments = [
            {"id": one.id, "label": result.class_names[one.label], "score": one.score, "area": one.area}
            for one in found.segments_info
        ]
        answer["panoptic"] = {"runs": run_length_encode(found.segmentation), "segments": segments}
    return answer


def render_json(*, pixels: bool, instances: bool) -> Callable[[ImageSource, Result], bytes]:
    """Renders a Result as JSON."""
    return lambda _, result: json.dumps(to_payload(result, pixels=pixels, instances=instances)).encode()


def render_overlay(image: ImageSource, result: Result) -> bytes:
    """The image with everything drawn on it, as PNG."""
    return _png(Pillow.fromarray(annotate(image.read(), result)))


def render_class_map(_: ImageSource, result: Result) -> bytes:
    """The class map as a palette PNG, whose pixel values are the classes; all background where the model has none."""
    class_map = np.zeros(result.size, np.uint8) if result.class_map is None else result.class_map
    return _png(palette_png(class_map))


def run_length_encode(values: NDArray[Any]) -> list[int]:
    """The values (H, W) in runs: value, count, value, count ..."""
    told, lengths = run_lengths(values)
    return list(chain.from_iterable(zip(told.tolist(), lengths.tolist(), strict=True)))


def _png(picture: Pillow.Image) -> bytes:
    content = BytesIO()
    picture.save(content, "PNG", compress_level=1)
    return content.getvalue()
