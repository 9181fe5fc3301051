"""COCO: annotations/instances_SPLIT.json and the images in SPLIT/."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blitznet.core.classes import COCO_BY_ID, canonical
from blitznet.core.files import atomic_write
from blitznet.core.sample import Sample
from blitznet.data.masks import RasterizedMask, Shape, decode_runs, rasterize_polygons
from blitznet.data.writers.writer import place_image, shapes

_UNUSED = frozenset((12, 26, 29, 30, 45, 66, 68, 69, 71, 83))
"""of the ids 1 to 90, those that COCO left out"""


class CocoWriter:
    """Boxes, outlines, runs and crowds as they are; `difficult` goes by COCO's word for it, `ignore`."""

    def __init__(self, root: Path, split: str, names: tuple[str, ...], *, link: bool = False) -> None:
        self.root, self.split, self.names, self.link = root, split, names, link
        self.categories = category_ids(names)
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def losses(self, sample: Sample) -> Iterator[str]:
        """Class maps that no object's outline makes."""
        if sample.mask is not None and not isinstance(sample.mask, RasterizedMask):
            yield "class maps, which do not say which pixels are which object's"
        if not sample.annotated_box_classes.any():
            yield "that objects were not annotated: in COCO the image would be empty"

    def add(self, sample: Sample, image_source: Path) -> None:
        """The image, its entry and its objects'."""
        file_name = f"{sample.id}{image_source.suffix}"
        place_image(image_source, self.root / self.split / file_name, link=self.link)
        height, width = sample.image.size()
        image = len(self.images) + 1
        self.images.append({"id": image, "file_name": file_name, "height": height, "width": width})
        for index, shape in enumerate(shapes(sample)):
            self.annotations.append(
                {"id": len(self.annotations) + 1, "image_id": image} | self._one(sample, index, shape)
            )

    def close(self) -> None:
        """The split's annotations."""
        # Their order is the labels': official ids rise with them, and the others are counted.
        categories = [{"id": self.categories[label], "name": name} for label, name in enumerate(self.names)]
        content = {"images": self.images, "annotations": self.annotations, "categories": categories}
        atomic_write(self.root / "annotations" / f"instances_{self.split}.json", json.dumps(content).encode())

    def _one(self, sample: Sample, index: int, shape: Shape | None) -> dict[str, Any]:
        x1, y1, x2, y2 = (float(side) for side in sample.boxes[index])
        size = sample.image.size()
        told: dict[str, Any] = {
            "category_id": self.categories[int(sample.labels[index])],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1) if shape is None else _area(shape, size, sample.id),
            "iscrowd": int(sample.crowd[index]),
        }
        if sample.difficult[index]:
            told["ignore"] = 1
        if shape is not None:
            told["segmentation"] = _segmentation(shape, size)
        return told


def category_ids(names: tuple[str, ...]) -> tuple[int, ...]:
    """(K,) COCO's own ids where all names are COCO's in rising order, so that its tools agree; else 1, 2, 3 ..."""
    official = [number for number in range(1, 91) if number not in _UNUSED]
    known = {canonical(name): number for name, number in zip(COCO_BY_ID, official, strict=True)}
    found = tuple(known.get(canonical(name), 0) for name in names)
    return found if all(found) and list(found) == sorted({*found}) else tuple(range(1, len(names) + 1))


def _segmentation(shape: Shape, size: tuple[int, int]) -> Any:
    if shape.runs is not None:
        return {"size": list(size), "counts": shape.runs.tolist()}
    return [polygon.tolist() for polygon in shape.polygons]


def _area(shape: Shape, size: tuple[int, int], name: str) -> int:
    if shape.runs is not None:
        return int(decode_runs(shape.runs, size, name=name).sum())
    return int(rasterize_polygons(shape.polygons, size, name=name)[1].sum())
