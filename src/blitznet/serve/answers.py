"""What goes out: a Result as JSON, or as a picture."""

import json
from collections.abc import Callable
from io import BytesIO
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from blitznet.core.photo import Photo
from blitznet.core.result import Result
from blitznet.core.runs import run_lengths
from blitznet.view.draw import annotate, palette_png


def as_json(result: Result, *, pixels: bool, instances: bool) -> dict[str, Any]:
    """width, height, detections, and if asked for class_map and panoptic as runs: value, count, value, count ...

    Runs go row by row, from the top; a class map's values are 0 for background and 1.. for `names`.
    """
    answer = {**result.to_dict(), "names": list(result.names)}
    if pixels and result.class_map is not None:
        answer["class_map"] = runs(result.class_map)
    if instances and result.class_map is not None:
        found = result.panoptic()
        segments = [
            {"id": one.id, "label": result.names[one.label], "score": one.score, "area": one.area}
            for one in found.segments
        ]
        answer["panoptic"] = {"runs": runs(found.ids), "segments": segments}
    return answer


def json_of(*, pixels: bool, instances: bool) -> Callable[[Photo, Result], bytes]:
    """Renders a Result as JSON."""
    return lambda _, result: json.dumps(as_json(result, pixels=pixels, instances=instances)).encode()


def overlay(photo: Photo, result: Result) -> bytes:
    """The photo with everything drawn on it, as PNG."""
    return _png(Pillow.fromarray(annotate(photo.read(), result)))


def mask(_: Photo, result: Result) -> bytes:
    """The class map as a palette PNG, whose pixel values are the classes; all background where the model has none."""
    class_map = np.zeros(result.size, np.uint8) if result.class_map is None else result.class_map
    return _png(palette_png(class_map))


def runs(values: NDArray[Any]) -> list[int]:
    """The values (H, W) in runs: value, count, value, count ..."""
    told, lengths = run_lengths(values)
    return list(chain.from_iterable(zip(told.tolist(), lengths.tolist(), strict=True)))


def _png(picture: Pillow.Image) -> bytes:
    content = BytesIO()
    picture.save(content, "PNG", compress_level=1)
    return content.getvalue()
