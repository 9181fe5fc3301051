"""Ground truth and prediction side by side: two small images, annotated after they are resized."""

from dataclasses import dataclass

import numpy as np

from blitznet.core.arrays import Boxes, ClassMap, Labels, RGBArray, Scores
from blitznet.core.sample import Sample
from blitznet.drawing.annotate import DrawableResult, annotate, draw, resize_class_map, truth_marks


@dataclass(frozen=True, slots=True, eq=False)
class _ScaledResult:
    """A result at another image size."""

    boxes: Boxes
    scores: Scores
    labels: Labels
    class_names: tuple[str, ...]
    size: tuple[int, int]
    class_map: ClassMap | None


def side_by_side(sample: Sample, result: DrawableResult, max_size: int) -> tuple[RGBArray, RGBArray]:
    """Draw the ground truth and the prediction on two copies of an image.

    Args:
        sample: Image and annotations.
        result: Prediction for this image; all of its detections are drawn.
        max_size: Length of the longer edge of the drawn images, pixels; smaller images keep their size.

    Returns:
        Two RGB images (h, w, 3) uint8.

    Raises:
        DataError: The image cannot be read.
    """
    size = _scaled_size(result.size, max_size)
    image = sample.image.resize(size)
    boxes = _scale_boxes(sample.boxes, result.size, size)
    marks = truth_marks(boxes, sample.labels, sample.crowd, result.class_names, difficult=sample.difficult)
    truth = sample.class_map() if sample.annotated_mask_classes.any() else None
    scaled = _ScaledResult(
        boxes=_scale_boxes(result.boxes, result.size, size),
        scores=result.scores,
        labels=result.labels,
        class_names=result.class_names,
        size=size,
        class_map=None if result.class_map is None else resize_class_map(result.class_map, size),
    )
    truth = None if truth is None else resize_class_map(truth, size)
    return draw(image, marks, truth), annotate(image, scaled)


def _scaled_size(size: tuple[int, int], max_size: int) -> tuple[int, int]:
    """The size (h, w) whose longer edge is `max_size`, or the size itself if that is smaller."""
    scale = min(1.0, max_size / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _scale_boxes(boxes: Boxes, old: tuple[int, int], new: tuple[int, int]) -> Boxes:
    """Scale boxes (N, 4) in pixels from an image of size `old` (h, w) to one of size `new`."""
    return np.asarray(boxes * np.array([new[1] / old[1], new[0] / old[0]] * 2), np.float32)
