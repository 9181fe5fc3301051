"""Results as COCO has them: a list for `loadRes`, with masks if asked for, and panoptic maps as pictures.

Runs are made by faster-coco-eval (extra `eval`); ids of categories are the caller's, by label.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as coco_mask

from blitznet.core.arrays import RGBArray
from blitznet.postprocess.instances import Mask, Panoptic
from blitznet.postprocess.result import Result


def coco_results(result: Result, image: int, categories: Sequence[int], *, masks: bool = False) -> list[dict[str, Any]]:
    """A image's detections: image_id, category_id, bbox as x y w h, score, and with `masks` segmentation in runs."""
    found = result.instances() if masks and len(result) else None
    told = []
    for index, (x1, y1, x2, y2) in enumerate(result.boxes.tolist()):
        one: dict[str, Any] = {
            "image_id": image,
            "category_id": categories[result.labels[index]],
            "bbox": [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(float(result.scores[index]), 5),
        }
        if found is not None:
            one["segmentation"] = coco_runs(found.mask(index))
        told.append(one)
    return told


def coco_runs(mask: Mask) -> dict[str, Any]:
    """A mask (H, W) as COCO's compressed runs: size, counts."""
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode()}


def coco_panoptic(
    panoptic: Panoptic, image: int, categories: Sequence[int], *, file_name: str
) -> tuple[RGBArray, dict[str, Any]]:
    """A image's panoptic map as COCO's picture (H, W, 3), ids in three bytes, and its entry in the list."""
    ids = panoptic.segmentation.astype(np.uint32)
    picture = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8)
    segments = [
        {
            "id": one.id,
            "category_id": categories[one.label],
            "area": one.area,
            "iscrowd": 0,
            "bbox": _box(ids == one.id),
        }
        for one in panoptic.segments_info
    ]
    return picture, {"image_id": image, "file_name": file_name, "segments_info": segments}


def _box(pixels: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]") -> list[int]:
    """X y w h around what is set."""
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1]
