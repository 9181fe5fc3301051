"""COCO average precision, computed by faster-coco-eval."""

from typing import Any

import numpy as np

from blitznet.core.errors import MissingExtra
from blitznet.metrics.arrays import Float64Array, Int64Array
from blitznet.metrics.matching import ObjectTable, PredictionTable

MAX_DETECTIONS = 100
"""maximum number of detections of an image and class that COCO scores"""


def coco_ap(
    predictions: PredictionTable, objects: ObjectTable, sizes: Int64Array, num_classes: int
) -> tuple[float | None, float | None]:
    """COCO's AP and AP50, means over the classes that occur.

    Difficult objects are scored as crowd regions (`iscrowd`), because COCO has no such flag. The area of an object is
    the area of its box.

    Args:
        predictions: All detections.
        objects: All annotated objects.
        sizes: (N, 2) height and width of all images.
        num_classes: K.

    Returns:
        AP over IoU 0.5, 0.55 ... 0.95 and AP at IoU 0.5, fractions 0..1; None, None if there is no object.

    Raises:
        MissingExtra: faster-coco-eval is not installed.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise MissingExtra("COCO's average precision", "eval") from error

    truth = COCO(_ground_truth(objects, sizes, num_classes))
    detections = _detections(predictions)
    if not len(objects.image) or objects.ignored.all():
        return None, None
    if not len(detections):
        return 0.0, 0.0
    evaluator = COCOeval_faster(truth, truth.loadRes(detections), "bbox")
    evaluator.params.maxDets = [1, 10, MAX_DETECTIONS]
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    return float(evaluator.stats[0]), float(evaluator.stats[1])


def _ground_truth(objects: ObjectTable, sizes: Int64Array, num_classes: int) -> dict[str, Any]:
    """The objects as a COCO dataset."""
    corners, extents = objects.boxes[:, :2], objects.boxes[:, 2:] - objects.boxes[:, :2]
    boxes = np.concatenate([corners, extents], 1)
    rows = zip(objects.image, objects.label, boxes.tolist(), extents.prod(1), objects.ignored, strict=True)
    return {
        "info": {},
        "images": [{"id": n + 1, "height": int(h), "width": int(w)} for n, (h, w) in enumerate(sizes)],
        "categories": [{"id": label + 1, "name": str(label)} for label in range(num_classes)],
        "annotations": [
            {
                "id": number + 1,
                "image_id": int(image) + 1,
                "category_id": int(label) + 1,
                "bbox": box,
                "area": float(area),
                "iscrowd": int(ignored),
            }
            for number, (image, label, box, area, ignored) in enumerate(rows)
        ],
    }


def _detections(predictions: PredictionTable) -> Float64Array:
    """(Q, 7) image, x, y, width, height, score, class for COCO.loadRes, sorted by image, then falling score."""
    extents = predictions.boxes[:, 2:] - predictions.boxes[:, :2]
    columns = [
        predictions.image[:, None] + 1,
        predictions.boxes[:, :2],
        extents,
        predictions.score[:, None],
        predictions.label[:, None] + 1,
    ]
    table = np.concatenate([np.asarray(column, np.float64) for column in columns], 1)
    return table[np.lexsort((-predictions.score, predictions.image))]
