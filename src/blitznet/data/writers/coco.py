"""Writer of COCO datasets: annotations/instances_SPLIT.json and images in SPLIT/."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blitznet.core.classes import COCO_BY_ID, canonical
from blitznet.core.files import atomic_write
from blitznet.core.sample import Sample
from blitznet.data.masks import MaskObject, RasterizedMask, decode_coco_rle, rasterize_polygons
from blitznet.data.writers.writer import copy_image, object_outlines

_UNUSED = frozenset((12, 26, 29, 30, 45, 66, 68, 69, 71, 83))
"""category ids of 1 to 90 that COCO does not use"""


class CocoWriter:
    """Writes boxes, polygons, run lengths and crowds unchanged; `difficult` becomes COCO's `ignore`."""

    def __init__(self, root: Path, split: str, class_names: tuple[str, ...], *, link: bool = False) -> None:
        self.root, self.split, self.class_names, self.link = root, split, class_names, link
        self.folder = root
        self.category_ids = category_ids(class_names)
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def unsupported(self, sample: Sample) -> Iterator[str]:
        """Class maps without outlines of objects, and images without annotated boxes."""
        if sample.mask is not None and not isinstance(sample.mask, RasterizedMask):
            yield "class maps, because they do not separate objects"
        if not sample.annotated_box_classes.all():
            yield "missing box annotations, because COCO would list the image as empty"

    def add(self, sample: Sample, image: Path) -> None:
        """Copy the image, and collect its entry and the entries of its objects."""
        file_name = f"{sample.id}{image.suffix}"
        copy_image(image, self, f"{self.split}/{file_name}")
        height, width = sample.image.size()
        image_id = len(self.images) + 1
        self.images.append({"id": image_id, "file_name": file_name, "height": height, "width": width})
        for index, outline in enumerate(object_outlines(sample)):
            self.annotations.append(
                {"id": len(self.annotations) + 1, "image_id": image_id} | self._annotation(sample, index, outline)
            )

    def lists(self) -> tuple[str, ...]:
        """The annotations of the split."""
        return (f"annotations/instances_{self.split}.json",)

    def close(self) -> None:
        """Write the annotations of the split."""
        # In the order of labels: official ids ascend with them, other ids are consecutive.
        categories = [{"id": self.category_ids[label], "name": name} for label, name in enumerate(self.class_names)]
        content = {"images": self.images, "annotations": self.annotations, "categories": categories}
        atomic_write(self.folder / self.lists()[0], json.dumps(content).encode())

    def _annotation(self, sample: Sample, index: int, outline: MaskObject | None) -> dict[str, Any]:
        x1, y1, x2, y2 = (float(value) for value in sample.boxes[index])
        size = sample.image.size()
        annotation: dict[str, Any] = {
            "category_id": self.category_ids[int(sample.labels[index])],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1) if outline is None else _area(outline, size, sample.id),
            "iscrowd": int(sample.crowd[index]),
        }
        if sample.difficult[index]:
            annotation["ignore"] = 1
        if outline is not None:
            annotation["segmentation"] = _segmentation(outline, size)
        return annotation


def category_ids(class_names: tuple[str, ...]) -> tuple[int, ...]:
    """(K,) category ids: COCO's own if all names are COCO's in ascending order of id, else 1, 2, 3 ..."""
    official_ids = [number for number in range(1, 91) if number not in _UNUSED]
    by_name = {canonical(name): number for name, number in zip(COCO_BY_ID, official_ids, strict=True)}
    ids = tuple(by_name.get(canonical(name), 0) for name in class_names)
    return ids if all(ids) and list(ids) == sorted({*ids}) else tuple(range(1, len(class_names) + 1))


def _segmentation(outline: MaskObject, size: tuple[int, int]) -> Any:
    if outline.runs is not None:
        return {"size": list(size), "counts": outline.runs.tolist()}
    return [polygon.tolist() for polygon in outline.polygons]


def _area(outline: MaskObject, size: tuple[int, int], name: str) -> int:
    if outline.runs is not None:
        return int(decode_coco_rle(outline.runs, size, name=name).sum())
    return int(rasterize_polygons(outline.polygons, size, name=name)[1].sum())
