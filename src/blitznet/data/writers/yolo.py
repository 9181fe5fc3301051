"""YOLO: images/SPLIT, labels/SPLIT with one text file a image, data.yaml."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blitznet.core.errors import MissingExtra
from blitznet.core.files import atomic_write
from blitznet.core.sample import Sample
from blitznet.data.masks import RasterizedMask, Shape
from blitznet.data.writers.writer import place_image, require_same_names, shapes
from blitznet.data.yolo import read_yaml, yaml_names


class YoloWriter:
    """A line for each object: its outline where that is one polygon, else its box; fractions of the image."""

    def __init__(self, root: Path, split: str, names: tuple[str, ...], *, link: bool = False) -> None:
        self.root, self.split, self.names, self.link = root, split, names, link
        self.path = root / "data.yaml"
        self.content: dict[str, Any] = read_yaml(self.path) if self.path.is_file() else {}
        if self.content:
            require_same_names(self.path, yaml_names(self.content.get("names"), self.path), names)

    def losses(self, sample: Sample) -> Iterator[str]:
        """All but boxes and outlines of one polygon."""
        if sample.mask is not None and not isinstance(sample.mask, RasterizedMask):
            yield "class maps, which do not say which pixels are which object's"
        if not sample.annotated_box_classes.any():
            yield "that objects were not annotated: in YOLO the image would be empty"
        if sample.difficult.any():
            yield "the flag `difficult`"
        if sample.crowd.any():
            yield "crowds"
        outlines = [shape for shape, crowd in zip(shapes(sample), sample.crowd, strict=True) if not crowd]
        found = [shape for shape in outlines if shape is not None]
        if any(shape.runs is not None for shape in found):
            yield "outlines in runs, with holes; the boxes are kept"
        if any(len(shape.polygons) > 1 for shape in found):
            yield "outlines of several polygons; the boxes are kept"
        if any(_boxed_otherwise(sample, index, shape) for index, shape in enumerate(shapes(sample))):
            yield "boxes that are not the ones around their outlines"

    def add(self, sample: Sample, image: Path) -> None:
        """The image and its lines."""
        place_image(image, self.root / "images" / self.split / f"{sample.id}{image.suffix}", link=self.link)
        lines = [_line(sample, index, shape) for index, shape in enumerate(shapes(sample)) if not sample.crowd[index]]
        atomic_write(self.root / "labels" / self.split / f"{sample.id}.txt", "".join(lines).encode())

    def close(self) -> None:
        """data.yaml, which keeps the other splits that it names."""
        try:
            import yaml
        except ImportError as error:
            raise MissingExtra("writing data.yaml", "data") from error
        content = self.content | {"names": dict(enumerate(self.names)), self.split: f"images/{self.split}"}
        atomic_write(self.path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())


def _outline(shape: Shape | None) -> list[float] | None:
    """X y x y ... of an outline that a line can hold."""
    if shape is None or shape.runs is not None or len(shape.polygons) != 1:
        return None
    points: list[float] = shape.polygons[0].tolist()
    return points


def _boxed_otherwise(sample: Sample, index: int, shape: Shape | None) -> bool:
    """Whether the box is more than a pixel off the outline's, which is what a reader makes of it."""
    points = _outline(shape)
    if points is None:
        return False
    around = (min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2]))
    return any(abs(a - b) > 1 for a, b in zip(around, sample.boxes[index].tolist(), strict=True))


def _line(sample: Sample, index: int, shape: Shape | None) -> str:
    height, width = sample.image.size()
    points = _outline(shape)
    if points is None:
        x1, y1, x2, y2 = sample.boxes[index].tolist()
        points = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
    fractions = (value / (height if place % 2 else width) for place, value in enumerate(points))
    return " ".join([str(int(sample.labels[index])), *(f"{value:.10g}" for value in fractions)]) + "\n"
