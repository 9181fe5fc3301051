"""Average precision as COCO counts it, through faster-coco-eval."""

from typing import Any

import numpy as np

from blitznet.core.errors import MissingExtra
from blitznet.metrics.matching import Numbers, ObjectTable, PredictionTable, Reals

KEPT = 100
"""detections of a image that COCO looks at, of each class"""


def coco_ap(
    found: PredictionTable, objects: ObjectTable, sizes: Numbers, classes: int
) -> tuple[float | None, float | None]:
    """AP over overlaps 0.5, 0.55 ... 0.95 and AP at 0.5, means over the classes that occur; None if none does.

    `sizes` (N, 2) are height and width of all images. Crowd regions are COCO's `iscrowd`; difficult objects
    are treated as such too, since COCO has no word for them. An object's area is its box's.
    MissingExtra if faster-coco-eval is not installed.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise MissingExtra("COCO's average precision", "eval") from error

    truth = COCO(_dataset(objects, sizes, classes))
    table = _table(found)
    if not len(objects.image) or objects.ignored.all():
        return None, None
    if not len(table):
        return 0.0, 0.0
    judge = COCOeval_faster(truth, truth.loadRes(table), "bbox")
    judge.params.maxDets = [1, 10, KEPT]
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    return float(judge.stats[0]), float(judge.stats[1])


def _dataset(objects: ObjectTable, sizes: Numbers, classes: int) -> dict[str, Any]:
    corner, sides = objects.boxes[:, :2], objects.boxes[:, 2:] - objects.boxes[:, :2]
    boxes = np.concatenate([corner, sides], 1)
    rows = zip(objects.image, objects.label, boxes.tolist(), sides.prod(1), objects.ignored, strict=True)
    return {
        "info": {},
        "images": [{"id": n + 1, "height": int(h), "width": int(w)} for n, (h, w) in enumerate(sizes)],
        "categories": [{"id": label + 1, "name": str(label)} for label in range(classes)],
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


def _table(found: PredictionTable) -> Reals:
    """(Q, 7): image, x, y, w, h, score, class, as COCO.loadRes takes them; in image order, then by score."""
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    columns = [found.image[:, None] + 1, found.boxes[:, :2], sides, found.score[:, None], found.label[:, None] + 1]
    table = np.concatenate([np.asarray(column, np.float64) for column in columns], 1)
    return table[np.lexsort((-found.score, found.image))]
