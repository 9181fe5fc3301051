"""YOLO: data.yaml, images/ and beside it labels/ with one text file a image; boxes or polygons."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from blitznet.core.arrays import Floats
from blitznet.core.errors import DataError, MissingExtra
from blitznet.core.image import SUFFIXES, ImageSource
from blitznet.data.dataset import (
    MAX_SIDE,
    Annotation,
    IndexedDataset,
    Objects,
    UnknownClassError,
    image_paths,
    only_image,
    read_text,
)
from blitznet.data.masks import RasterizedMask
from blitznet.data.outlines import Outline, Outlines

_MAX_YAML = 1 << 20
_MAX_LABELS = 16 << 20
_MAX_LIST = 256 << 20
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class YoloDataset(IndexedDataset):
    """A split of a YOLO set; boxes are held as fractions and scaled by the image's real size."""

    outlines: Outlines

    def _scale(self, image: ImageSource) -> Floats:
        height, width = image.size()
        return np.asarray([width, height, width, height], np.float32)

    def _mask(self, index: int, image: ImageSource) -> RasterizedMask | None:
        if self.objects is None or not self.outlines.any:
            return None
        shapes = self.outlines.shapes(self.objects, self.objects.span(index), self._scale(image))
        return None if shapes is None else RasterizedMask(self.ids[index], image.size(), shapes)


def open_yolo(root: Path, split: str | None, *, title: str) -> YoloDataset:
    """A split (train, val, test) of the set described by `root`/data.yaml, or by the YAML file `root`.

    A image without a label file is annotated and empty. Lines of polygons also give a class map, painted in
    their order; a set without polygons has none.
    """
    path = root if root.is_file() else root / "data.yaml"
    content = read_yaml(path)
    names = yaml_names(content.get("names"), path)
    images = _images(content, path, split)
    errors: dict[int, DataError] = {}
    rows: list[list[Annotation]] = []
    outlines: list[Outline] = []
    for index, image in enumerate(images.values()):
        try:
            parsed = parse_labels(_label_path(image), len(names))
        except DataError as error:
            errors[index] = error
            parsed = []
        rows.append([row for row, _ in parsed])
        outlines.extend(outline for _, outline in parsed)
    return YoloDataset(
        title=title,
        class_names=names,
        ids=tuple(images),
        images=tuple(str(image) for image in images.values()),
        objects=Objects.pack(rows),
        errors=errors,
        outlines=Outlines.pack(outlines),
    )


def parse_labels(path: Path, classes: int) -> list[tuple[Annotation, Outline]]:
    """The objects of one label file, as fractions of the image; none if there is no such file."""
    if not path.is_file():
        return []
    lines = read_text(path, limit=_MAX_LABELS).splitlines()
    return [
        _parse_line(line.split(), f"{path}: line {number}", classes)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


def _parse_line(words: list[str], where: str, classes: int) -> tuple[Annotation, Outline]:
    try:
        label, values = float(words[0]), [float(word) for word in words[1:]]
    except ValueError as error:
        raise DataError(f"{where}: expected numbers, got '{' '.join(words)[:60]}'") from error
    if label not in range(classes):
        raise UnknownClassError(f"{where}: class {words[0]} is not one of the {classes} in data.yaml")
    if not all(abs(value) < MAX_SIDE for value in values):
        raise DataError(f"{where}: expected fractions of the image, got '{' '.join(words)[:60]}'")
    if len(values) == 4:
        x, y, width, height = values
        return Annotation((x - width / 2, y - height / 2, x + width / 2, y + height / 2), int(label)), Outline()
    if len(values) < 6 or len(values) % 2:
        raise DataError(f"{where}: expected `class x y w h` or `class x1 y1 x2 y2 x3 y3 ...`, got {len(words)} numbers")
    box = (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
    return Annotation(box, int(label)), Outline(polygons=[values])


def read_yaml(path: Path) -> dict[str, Any]:
    """What a data.yaml says. Raises DataError where it is no YAML or not a set's."""
    try:
        import yaml
    except ImportError as error:
        raise MissingExtra("reading data.yaml", "data") from error
    try:
        content = yaml.safe_load(read_text(path, limit=_MAX_YAML))
    except (yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected names, train and val, got a {type(content).__name__}")
    return content


def yaml_names(value: object, path: Path) -> tuple[str, ...]:
    """A list of names, or a map from 0, 1, 2 ... to names."""
    if isinstance(value, dict):
        if sorted(value) != list(range(len(value))):
            raise DataError(f"{path}: expected names numbered 0, 1, 2 ..., got {str(list(value))[:60]}")
        value = [value[k] for k in range(len(value))]
    if not isinstance(value, list) or not value:
        raise DataError(f"{path}: expected `names`, a list of class names")
    return tuple(str(name) for name in value)


def _images(content: dict[str, Any], path: Path, split: str | None) -> dict[str, Path]:
    """Id -> image; the split is a folder, a list of paths, or several of them."""
    value = content.get(split) if split else None
    if not value:
        there = ", ".join(key for key in _SPLITS if content.get(key))
        expected = f"there is no split '{split}'" if split else "expected a split"
        raise DataError(f"{path}: {expected}; splits here: {there or 'none'}; write yolo:{path.parent}@SPLIT")
    base = path.parent / str(content.get("path") or "")
    images: dict[str, Path] = {}
    entries = [str(entry) for entry in (value if isinstance(value, list) else [value])]
    for entry in entries:
        found = _entry(base, path.parent, entry)
        # two folders may number their images alike
        images |= found if len(entries) == 1 else {f"{entry}/{name}": image for name, image in found.items()}
    if not images:
        raise DataError(f"{path}: split '{split}' has no images; looked in {value} under {base}")
    return images


def _entry(base: Path, home: Path, entry: str) -> dict[str, Path]:
    # exports of labelling sites write ../train/images for a folder beside data.yaml, and stale absolute paths
    inside = PurePosixPath(*(part for part in PurePosixPath(entry).parts if part not in ("..", "/")))
    place = next((p for p in (base / entry, home / entry, base / inside, home / inside) if p.exists()), None)
    if place is None:
        raise DataError(f"{base / entry}: there is no such folder or list, which data.yaml names")
    if place.is_dir():
        return image_paths(place, SUFFIXES)
    listed = [line.strip() for line in read_text(place, limit=_MAX_LIST).splitlines() if line.strip()]
    named: dict[str, set[Path]] = {}
    for line in listed:
        name = str(PurePosixPath(line).with_suffix("")).removeprefix("./")
        named.setdefault(name, set()).add(place.parent / line)
    return {name: only_image(sorted(files)) for name, files in named.items()}


def _label_path(image: Path) -> Path:
    """The label file: the last folder named images exchanged for labels, or beside the image."""
    parts = list(image.with_suffix(".txt").parts)
    for k in reversed(range(len(parts) - 1)):
        if parts[k] == "images":
            parts[k] = "labels"
            break
    return Path(*parts)
