"""Truth beside prediction: two small pictures of one image, drawn at the size at which they are shown."""

import numpy as np
from PIL import Image as Pillow

from blitznet.core.arrays import Boxes, ClassMap, RGBArray
from blitznet.core.sample import Sample
from blitznet.drawing.annotate import annotate, draw, truth_marks
from blitznet.postprocess.result import Result


def side_by_side(sample: Sample, result: Result, side: int) -> tuple[RGBArray, RGBArray]:
    """The image with its truth and with all of the result, (h, w, 3) each, at most `side` pixels long.

    Raises DataError if the image cannot be read.
    """
    size = _within(result.size, side)
    image = sample.image.resize(size)
    boxes = _scaled(sample.boxes, result.size, size)
    marks = truth_marks(boxes, sample.labels, sample.crowd, result.class_names, difficult=sample.difficult)
    truth = sample.class_map() if sample.annotated_mask_classes.any() else None
    small = Result(
        boxes=_scaled(result.boxes, result.size, size),
        scores=result.scores,
        labels=result.labels,
        class_names=result.class_names,
        size=size,
        painted=_shrunk(result.class_map, size),
    )
    return draw(image, marks, _shrunk(truth, size)), annotate(image, small)


def _within(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The size (h, w) that is no longer than `side`, and no larger than it was."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _scaled(boxes: Boxes, old: tuple[int, int], new: tuple[int, int]) -> Boxes:
    """Boxes (N, 4) in pixels of another size (h, w)."""
    return np.asarray(boxes * np.array([new[1] / old[1], new[0] / old[0]] * 2), np.float32)


def _shrunk(class_map: ClassMap | None, size: tuple[int, int]) -> ClassMap | None:
    if class_map is None:
        return None
    return np.array(Pillow.fromarray(class_map).resize((size[1], size[0]), Pillow.Resampling.NEAREST))
