"""Reader of YOLO datasets: data.yaml, images/, and labels/ with one text file per image; boxes or polygons."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from blitznet.core.arrays import Floats
from blitznet.core.errors import DataError, MissingExtra
from blitznet.core.image import IMAGE_SUFFIXES, ImageSource
from blitznet.data.dataset import (
    MAX_COORDINATE,
    Annotation,
    AnnotationArrays,
    IndexedDataset,
    UnknownClassError,
    images_by_name,
    read_text,
    single_image,
)
from blitznet.data.masks import RasterizedMask
from blitznet.data.outlines import Outline, Outlines

_MAX_YAML = 1 << 20
_MAX_LABELS = 16 << 20
_MAX_LIST = 256 << 20
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class YoloDataset(IndexedDataset):
    """A split of a YOLO dataset; boxes are stored as fractions and scaled by the image size."""

    outlines: Outlines

    def _scale(self, image: ImageSource) -> Floats:
        height, width = image.size()
        return np.asarray([width, height, width, height], np.float32)

    def _mask(self, index: int, image: ImageSource) -> RasterizedMask | None:
        if self.annotations is None or not self.outlines.has_outlines:
            return None
        objects = self.outlines.mask_objects(self.annotations, self.annotations.image_slice(index), self._scale(image))
        return None if objects is None else RasterizedMask(self.ids[index], image.size(), objects)


def open_yolo(root: Path, split: str | None, *, title: str) -> YoloDataset:
    """Open a split (train, val, test) of the dataset described by `root`/data.yaml, or by the YAML file `root`.

    An image without a label file is annotated and contains no object. Polygons also give a class map, rasterized in
    the order of the lines; a dataset without polygons has no class maps.

    Raises:
        DataError: The YAML file or the split is missing or broken. Errors of label files are in the dataset's `errors`.
    """
    path = root if root.is_file() else root / "data.yaml"
    content = read_yaml(path)
    names = yaml_names(content.get("names"), path)
    images = _images(content, path, split)
    errors: dict[int, DataError] = {}
    annotations: list[list[Annotation]] = []
    outlines: list[Outline] = []
    for index, image in enumerate(images.values()):
        try:
            parsed = parse_labels(_label_path(image), len(names))
        except DataError as error:
            errors[index] = error
            parsed = []
        annotations.append([annotation for annotation, _ in parsed])
        outlines.extend(outline for _, outline in parsed)
    return YoloDataset(
        title=title,
        class_names=names,
        ids=tuple(images),
        image_paths=tuple(str(image) for image in images.values()),
        annotations=AnnotationArrays.pack(annotations),
        errors=errors,
        outlines=Outlines.pack(outlines),
    )


def parse_labels(path: Path, num_classes: int) -> list[tuple[Annotation, Outline]]:
    """Parse the objects of one label file as fractions of the image; none if the file does not exist."""
    if not path.is_file():
        return []
    lines = read_text(path, limit=_MAX_LABELS).splitlines()
    return [
        _parse_line(line.split(), f"{path}:{number}", num_classes)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


def _parse_line(words: list[str], where: str, num_classes: int) -> tuple[Annotation, Outline]:
    try:
        label, values = float(words[0]), [float(word) for word in words[1:]]
    except ValueError as error:
        raise DataError(f"{where}: expected numbers, got '{' '.join(words)[:60]}'") from error
    if label not in range(num_classes):
        raise UnknownClassError(f"{where}: expected a class of 0..{num_classes - 1} as in data.yaml, got {words[0]}")
    if not all(abs(value) < MAX_COORDINATE for value in values):
        raise DataError(f"{where}: expected fractions of the image, got '{' '.join(words)[:60]}'")
    if len(values) == 4:
        x, y, width, height = values
        return Annotation((x - width / 2, y - height / 2, x + width / 2, y + height / 2), int(label)), Outline()
    if len(values) < 6 or len(values) % 2:
        raise DataError(f"{where}: expected `class x y w h` or `class x1 y1 x2 y2 x3 y3 ...`, got {len(words)} numbers")
    box = (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
    return Annotation(box, int(label)), Outline(polygons=[values])


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a data.yaml.

    Raises:
        DataError: The file is missing, or not a YAML mapping.
    """
    try:
        import yaml
    except ImportError as error:
        raise MissingExtra("reading data.yaml", "data") from error
    try:
        content = yaml.safe_load(read_text(path, limit=_MAX_YAML))
    except (yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{path}: expected a YAML file ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected names, train and val, got a {type(content).__name__}")
    return content


def yaml_names(value: object, path: Path) -> tuple[str, ...]:
    """Class names from a list, or from a mapping of 0, 1, 2 ... to names."""
    if isinstance(value, dict):
        if sorted(value) != list(range(len(value))):
            raise DataError(f"{path}: expected names numbered 0, 1, 2 ..., got {str(list(value))[:60]}")
        value = [value[k] for k in range(len(value))]
    if not isinstance(value, list) or not value:
        raise DataError(f"{path}: expected `names`, a list of class names")
    return tuple(str(name) for name in value)


def _images(content: dict[str, Any], path: Path, split: str | None) -> dict[str, Path]:
    """Id -> image file; a split is a folder, a list file, or several of them."""
    value = content.get(split) if split else None
    if not value:
        available = ", ".join(key for key in _SPLITS if content.get(key))
        problem = f"there is no split '{split}'" if split else "expected a split"
        raise DataError(f"{path}: {problem}; splits here: {available or 'none'}; write yolo:{path.parent}@SPLIT")
    base = path.parent / str(content.get("path") or "")
    images: dict[str, Path] = {}
    entries = [str(entry) for entry in (value if isinstance(value, list) else [value])]
    for entry in entries:
        named = _entry_images(base, path.parent, entry)
        # Two folders may contain images of the same name.
        images |= named if len(entries) == 1 else {f"{entry}/{name}": image for name, image in named.items()}
    if not images:
        raise DataError(f"{path}: expected images in split '{split}', got none in {value} under {base}")
    return images


def _entry_images(base: Path, yaml_folder: Path, entry: str) -> dict[str, Path]:
    """Id -> image file of one entry of a split; `base` is the folder that data.yaml names as `path`."""
    # Exports of labeling sites write ../train/images for a folder beside data.yaml, and stale absolute paths.
    inside = PurePosixPath(*(part for part in PurePosixPath(entry).parts if part not in ("..", "/")))
    candidates = (base / entry, yaml_folder / entry, base / inside, yaml_folder / inside)
    path = next((candidate for candidate in candidates if candidate.exists()), None)
    if path is None:
        raise DataError(
            f"{base / entry}: expected a folder or list, as data.yaml names it, got a path that does not exist"
        )
    if path.is_dir():
        return images_by_name(path, IMAGE_SUFFIXES)
    lines = [line.strip() for line in read_text(path, limit=_MAX_LIST).splitlines() if line.strip()]
    named: dict[str, set[Path]] = {}
    for line in lines:
        name = str(PurePosixPath(line).with_suffix("")).removeprefix("./")
        named.setdefault(name, set()).add(path.parent / line)
    return {name: single_image(sorted(files)) for name, files in named.items()}


def _label_path(image: Path) -> Path:
    """The label file: in `labels` in place of the last folder `images` of the path, or beside the image."""
    parts = list(image.with_suffix(".txt").parts)
    for index in reversed(range(len(parts) - 1)):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts)
