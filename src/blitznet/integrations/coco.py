"""Results in COCO's formats: detection results for `COCO.loadRes`, with masks, and panoptic segmentations.

Masks are encoded by faster-coco-eval (extra `eval`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as coco_mask

from blitznet.core.arrays import RGBArray
from blitznet.postprocess.instances import Mask, Panoptic
from blitznet.postprocess.result import Result


def to_coco_results(
    result: Result, image_id: int, category_ids: Sequence[int], *, masks: bool = False
) -> list[dict[str, Any]]:
    """The detections of an image as COCO results.

    Args:
        result: N detections.
        image_id: The image's id in the annotation file.
        category_ids: Category id of each class id (K).
        masks: Whether to add `segmentation`, the instance masks.

    Returns:
        N dicts of `image_id`, `category_id`, `bbox` (x y width height, pixels) and `score`.
    """
    instances = result.instances() if masks and len(result) else None
    entries = []
    for index, (x1, y1, x2, y2) in enumerate(result.boxes.tolist()):
        entry: dict[str, Any] = {
            "image_id": image_id,
            "category_id": category_ids[result.labels[index]],
            "bbox": [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(float(result.scores[index]), 5),
        }
        if instances is not None:
            entry["segmentation"] = to_coco_rle(instances.mask(index))
        entries.append(entry)
    return entries


def to_coco_rle(mask: Mask) -> dict[str, Any]:
    """A mask (H, W) as COCO's compressed run lengths: `size` and `counts`."""
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode()}


def to_coco_panoptic(
    panoptic: Panoptic, image_id: int, category_ids: Sequence[int], *, file_name: str
) -> tuple[RGBArray, dict[str, Any]]:
    """A panoptic segmentation in COCO's format.

    Args:
        panoptic: The segmentation of an image.
        image_id: The image's id in the annotation file.
        category_ids: Category id of each class id (K).
        file_name: Name of the PNG that the returned array is saved to.

    Returns:
        The PNG's pixels (H, W, 3), where R + 256 G + 256² B is the segment id, and the entry of `annotations`.
    """
    ids = panoptic.segmentation.astype(np.uint32)
    pixels = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8)
    segments_info = [
        {
            "id": segment.id,
            "category_id": category_ids[segment.label],
            "area": segment.area,
            "iscrowd": 0,
            "bbox": _bounding_box(ids == segment.id),
        }
        for segment in panoptic.segments_info
    ]
    return pixels, {"image_id": image_id, "file_name": file_name, "segments_info": segments_info}


def _bounding_box(mask: Mask) -> list[int]:
    """[x, y, width, height] of a mask's true pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1]
