"""Writer of YOLO datasets: images/SPLIT, labels/SPLIT with one text file per image, data.yaml."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blitznet.core.errors import MissingExtra
from blitznet.core.files import atomic_write
from blitznet.core.sample import Sample
from blitznet.data.masks import MaskObject, RasterizedMask
from blitznet.data.splits import split_aliases
from blitznet.data.writers.writer import copy_image, object_outlines, require_same_classes
from blitznet.data.yolo import read_yaml, yaml_names


class YoloWriter:
    """Writes one line per object: its outline if that is one polygon, else its box; fractions of the image."""

    def __init__(self, root: Path, split: str, class_names: tuple[str, ...], *, link: bool = False) -> None:
        self.root, self.split, self.class_names, self.link = root, split, class_names, link
        self.folder, path = root, root / "data.yaml"
        self.content: dict[str, Any] = read_yaml(path) if path.is_file() else {}
        if self.content:
            existing = tuple(yaml_names(self.content.get("names"), path).values())
            require_same_classes(path, existing, class_names)

    def unsupported(self, sample: Sample) -> Iterator[str]:
        """Everything but boxes and outlines of one polygon."""
        if sample.mask is not None and not isinstance(sample.mask, RasterizedMask):
            yield "class maps, because they do not separate objects"
        if not sample.annotated_box_classes.all():
            yield "missing box annotations, because most readers take an image without a label file as empty"
        if sample.difficult.any():
            yield "the flag `difficult`"
        if sample.crowd.any():
            yield "crowds"
        outlines = [
            outline
            for outline, crowd in zip(object_outlines(sample), sample.crowd, strict=True)
            if outline is not None and not crowd
        ]
        if any(outline.runs is not None for outline in outlines):
            yield "outlines as run lengths, which may have holes; their boxes are kept"
        if any(len(outline.polygons) > 1 for outline in outlines):
            yield "outlines of several polygons; their boxes are kept"
        if any(_has_other_box(sample, index, outline) for index, outline in enumerate(object_outlines(sample))):
            yield "boxes that differ from the extent of their outlines"

    def add(self, sample: Sample, image: Path) -> None:
        """Copy the image, and write its label file, unless nobody annotated its boxes."""
        copy_image(image, self, f"images/{self.split}/{sample.id}{image.suffix}")
        if not sample.annotated_box_classes.any():
            return
        lines = [
            _line(sample, index, outline)
            for index, outline in enumerate(object_outlines(sample))
            if not sample.crowd[index]
        ]
        atomic_write(self.folder / "labels" / self.split / f"{sample.id}.txt", "".join(lines).encode())

    def lists(self) -> tuple[str, ...]:
        """A YOLO dataset has no list of a split."""
        return ()

    def close(self) -> None:
        """Write data.yaml; other splits in an existing file are kept."""
        try:
            import yaml
        except ImportError as error:
            raise MissingExtra("writing data.yaml", "data") from error
        # Ultralytics requires the key `val` for any name of that split
        key = "val" if self.split in split_aliases("val") else self.split
        content = self.content | {"names": dict(enumerate(self.class_names)), key: f"images/{self.split}"}
        atomic_write(self.folder / "data.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())


def _polygon(outline: MaskObject | None) -> list[float] | None:
    """Coordinates x y x y ... of an outline that is one polygon; None for any other."""
    if outline is None or outline.runs is not None or len(outline.polygons) != 1:
        return None
    points: list[float] = outline.polygons[0].tolist()
    return points


def _has_other_box(sample: Sample, index: int, outline: MaskObject | None) -> bool:
    """Whether the box is more than a pixel off the extent of the polygon, from which a reader computes it."""
    points = _polygon(outline)
    if points is None:
        return False
    extent = (min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2]))
    return any(abs(a - b) > 1 for a, b in zip(extent, sample.boxes[index].tolist(), strict=True))


def _line(sample: Sample, index: int, outline: MaskObject | None) -> str:
    height, width = sample.image.size()
    points = _polygon(outline)
    if points is None:
        x1, y1, x2, y2 = sample.boxes[index].tolist()
        points = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
    fractions = (value / (height if position % 2 else width) for position, value in enumerate(points))
    return " ".join([str(int(sample.labels[index])), *(f"{value:.10g}" for value in fractions)]) + "\n"
