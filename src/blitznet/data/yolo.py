"""Reader of YOLO datasets: a YAML file or a list of classes, images, and a text file for each; boxes or polygons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from blitznet.core.arrays import Floats
from blitznet.core.errors import DataError, MissingExtra, shown
from blitznet.core.image import IMAGE_SUFFIXES, ImageSource
from blitznet.data.dataset import (
    MAX_COORDINATE,
    Annotation,
    AnnotationArrays,
    IndexedDataset,
    UnknownClassError,
    files_by_name,
    images_by_name,
    read_class_list,
    read_text,
    single_image,
)
from blitznet.data.file_walk import composed
from blitznet.data.image_files import ImageFinder, file_exists, strip_suffix
from blitznet.data.masks import RasterizedMask
from blitznet.data.outlines import Outline, Outlines
from blitznet.data.splits import find_split, is_split_name

_MAX_YAML = 1 << 20
_MAX_LABELS = 16 << 20
_MAX_PATH = 2_000
_MAX_LIST = 256 << 20
_MAX_DEPTH, _MAX_BITS = 20, 64
"""levels of nested values in a YAML file, and bits of its numbers, at most"""
YOLO_CLASS_LISTS = ("classes.txt", "obj.names", "labels.txt", "predefined_classes.txt")
"""files that list the classes of a folder without a YAML file"""
_IMAGE_FOLDERS = ("images", "imgs", "img", "image", "jpegimages")
_LABEL_FOLDERS = ("labels", "Labels", "labels_yolo", "label", "annotations", "txt")


@dataclass(frozen=True, eq=False)
class YoloDataset(IndexedDataset):
    """A split of a YOLO dataset; boxes are stored as fractions and scaled by the image size."""

    outlines: Outlines

    def _scale(self, image: ImageSource) -> Floats:
        height, width = image.size()
        return np.asarray([width, height, width, height], np.float32)

    def _mask(self, index: int, image: ImageSource) -> RasterizedMask | None:
        if self.annotations is None or not self.outlines.has_outlines or index in self.unlabeled:
            return None
        objects = self.outlines.mask_objects(self.annotations, self.annotations.image_slice(index), self._scale(image))
        return None if objects is None else RasterizedMask(self.ids[index], image.size(), objects)


@dataclass(frozen=True, slots=True)
class LabelFormat:
    """How the lines of label files are read."""

    class_names: tuple[str, ...]
    labels: Mapping[int, int]
    """class number in the files -> label"""
    num_keypoint_values: int | None = None
    """numbers after the box that describe keypoints and are left out; None: a dataset without keypoints"""


def open_yolo(root: Path, split: str | None, *, title: str) -> YoloDataset:
    """Open a split (train, val, test) of the dataset described by a YAML file in `root`, or by the YAML file `root`.

    Without a YAML file, class names are the lines of `classes.txt`, and the images and label files are in `images` and
    `labels`, or side by side; a split is then a folder.

    An image without a label file is not annotated; one with an empty file contains no object. Polygons also give a
    class map, rasterized in the order of the lines; a dataset without polygons has no class maps. Keypoints are left
    out if `kpt_shape` states them.

    Raises:
        DataError: The YAML file or the split is missing or broken. Errors of label files are in the dataset's `errors`.
    """
    path = root if root.is_file() else find_yaml(root)
    if path is None:
        names = find_class_list(root)
        if names is None:
            raise DataError(
                f"{root / 'data.yaml'}: expected a file, got a path that does not exist; expected data.yaml, another "
                f"YAML file with `names`, or {YOLO_CLASS_LISTS[0]}"
            )
        label_format = LabelFormat(names, {label: label for label in range(len(names))})
        return make_yolo(_folder_images(root, split), label_format, title=title)
    content = read_yaml(path)
    numbered = yaml_names(content.get("names"), path)
    if str(content.get("nc")).strip() not in ("None", str(len(numbered)), str(max(numbered) + 1)):
        raise DataError(f"{path}: expected {shown(content['nc'])} names as nc states, got {len(numbered)}")
    label_format = LabelFormat(
        class_names=tuple(numbered.values()),
        labels={number: label for label, number in enumerate(numbered)},
        num_keypoint_values=_num_keypoint_values(content.get("kpt_shape"), path),
    )
    return make_yolo(_images(content, path, split), label_format, title=title)


def make_yolo(images: dict[str, Path], label_format: LabelFormat, *, title: str) -> YoloDataset:
    """A dataset of images by id, with the label files beside them or in the folder `labels`."""
    errors: dict[int, DataError] = {}
    annotations: list[list[Annotation]] = []
    outlines: list[Outline] = []
    folders: dict[Path, Path] = {}
    files: dict[Path, dict[str, list[Path]]] = {}
    unlabeled: set[int] = set()
    for index, image in enumerate(images.values()):
        if image.parent not in folders:
            folders[image.parent] = _label_folder(image.parent)
            files[image.parent] = files_by_name(folders[image.parent], (".txt",), depth=1)
        paths = files[image.parent].get(composed(image.stem), [])
        if not paths:
            unlabeled.add(index)
        try:
            parsed = parse_labels(_single_label_file(paths), label_format) if paths else []
        except DataError as error:
            errors[index] = error
            parsed = []
        annotations.append([annotation for annotation, _ in parsed])
        outlines.extend(outline for _, outline in parsed)
    return YoloDataset(
        title=title,
        class_names=label_format.class_names,
        ids=tuple(images),
        image_paths=tuple(str(image) for image in images.values()),
        annotations=AnnotationArrays.pack(annotations),
        errors=errors,
        unlabeled=frozenset(unlabeled),
        label_places=tuple(map(str, dict.fromkeys(folders.values()))),
        outlines=Outlines.pack(outlines),
    )


def find_yaml(root: Path) -> Path | None:
    """The YAML file that describes a dataset: data.yaml, or the only one in the folder with `names`."""
    if (root / "data.yaml").is_file():
        return root / "data.yaml"
    paths = [path for path in sorted([*root.glob("*.yaml"), *root.glob("*.yml")]) if _has_names(path)]
    if len(paths) > 1:
        listed = ", ".join(path.name for path in paths)
        raise DataError(f"{root}: expected one YAML file with `names`, got {listed}; write yolo:{paths[0]}@SPLIT")
    return paths[0] if paths else None


def find_class_list(root: Path) -> tuple[str, ...] | None:
    """Class names of a folder without a YAML file."""
    path = next((root / name for name in YOLO_CLASS_LISTS if (root / name).is_file()), None)
    return None if path is None else read_class_list(path)


def yolo_splits(path: Path) -> tuple[str, ...]:
    """Names of the splits in a YAML file, whose images exist."""
    content = read_yaml(path)
    return tuple(key for key in _split_keys(content) if _has_images(content, path, key))


def _single_label_file(paths: Sequence[Path]) -> Path:
    first, *others = paths
    if others:
        raise DataError(f"{first}: expected one label file of this name, got also {others[0].name}; remove one")
    return first


def parse_labels(path: Path, label_format: LabelFormat) -> list[tuple[Annotation, Outline]]:
    """Parse the objects of one label file as fractions of the image."""
    lines = read_text(path, limit=_MAX_LABELS).splitlines()
    return [
        _parse_line(line.split(), f"{path}:{number}", label_format)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


def _parse_line(words: list[str], where: str, label_format: LabelFormat) -> tuple[Annotation, Outline]:
    try:
        number, values = float(words[0]), [float(word) for word in words[1:]]
    except ValueError as error:
        raise DataError(f"{where}: expected numbers, got '{' '.join(words)[:60]}'") from error
    label = label_format.labels.get(int(number)) if number.is_integer() else None
    if label is None:
        numbers = list(label_format.labels)
        expected = f"0..{len(numbers) - 1}" if numbers == list(range(len(numbers))) else str(numbers)[:60]
        raise UnknownClassError(f"{where}: expected a class of {expected} as in data.yaml, got {words[0]}")
    if not all(abs(value) < MAX_COORDINATE for value in values):
        raise DataError(f"{where}: expected fractions of the image, got '{' '.join(words)[:60]}'")
    if label_format.num_keypoint_values is not None:
        if len(values) != 4 + label_format.num_keypoint_values:
            raise DataError(
                f"{where}: expected `class x y w h` and {label_format.num_keypoint_values} numbers of keypoints, as "
                f"kpt_shape states, got {len(words)} numbers"
            )
        values = values[:4]
    if len(values) == 4:
        x, y, width, height = values
        return Annotation((x - width / 2, y - height / 2, x + width / 2, y + height / 2), label), Outline()
    if len(values) < 6 or len(values) % 2:
        raise DataError(f"{where}: expected `class x y w h` or `class x1 y1 x2 y2 x3 y3 ...`, got {len(words)} numbers")
    box = (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
    return Annotation(box, label), Outline(polygons=[values])


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
        text = read_text(path, limit=_MAX_YAML)
        content = yaml.safe_load(text)
    except DataError:
        raise
    except Exception as error:  # PyYAML raises many kinds of errors, such as ValueError for a date that does not exist
        raise DataError(f"{path}: expected a YAML file ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected names, train and val, got a {type(content).__name__}")
    _require_plain(content, path)
    return content


def _require_plain(content: object, path: Path) -> None:
    """Raise DataError for a value that is nested too deeply, or that aliases repeat without end."""
    values: list[tuple[object, int]] = [(content, 0)]
    count = 0
    while values:
        value, depth = values.pop()
        count += 1
        if count > _MAX_YAML or depth > _MAX_DEPTH:
            raise DataError(f"{path}: expected at most {_MAX_YAML:,} values and {_MAX_DEPTH} levels, got more")
        if isinstance(value, int) and value.bit_length() > _MAX_BITS:
            raise DataError(f"{path}: expected numbers of at most {_MAX_BITS} bits, got {shown(value)}")
        items = [*value, *value.values()] if isinstance(value, dict) else value
        if isinstance(items, (list, tuple, set)):
            values += [(item, depth + 1) for item in items]


def yaml_names(value: object, path: Path) -> dict[int, str]:
    """Number and name of each class, from a list or from a mapping of numbers to names; numbers may have gaps.

    Raises:
        DataError: The value is neither, or a name or number occurs twice.
    """
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not value:
        raise DataError(f"{path}: expected `names`, a list of class names")
    for name in value.values():
        if name is None or isinstance(name, bool) or not isinstance(name, (str, int, float)):
            raise DataError(
                f"{path}: expected names as text, got {shown(name)}; YAML reads words such as yes, no, on, off and "
                "null as values: write them in quotes"
            )
    try:
        numbered = {int(number): str(value[number]).strip() for number in value}
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: expected names numbered 0, 1, 2 ..., got {shown(list(value))}") from error
    if len(numbered) < len(value) or min(numbered) < 0:
        raise DataError(f"{path}: expected names numbered 0, 1, 2 ..., got {shown(list(value))}")
    return dict(sorted(numbered.items()))


def _num_keypoint_values(shape: object, path: Path) -> int | None:
    if shape is None:
        return None
    if not (isinstance(shape, list) and len(shape) == 2 and all(isinstance(size, int) and size > 0 for size in shape)):
        raise DataError(f"{path}: expected kpt_shape as [number of keypoints, 2 or 3], got {shown(shape)}")
    return int(shape[0] * shape[1])


def _has_names(path: Path) -> bool:
    try:
        return bool(read_yaml(path).get("names"))
    except DataError:
        return False


def _split_keys(content: dict[str, Any]) -> list[str]:
    return [key for key in content if isinstance(key, str) and is_split_name(key) and content[key]]


def _has_images(content: dict[str, Any], path: Path, split: str) -> bool:
    try:
        return bool(_images(content, path, split))
    except DataError:
        return False


def _images(content: dict[str, Any], path: Path, split: str | None) -> dict[str, Path]:
    """Id -> image file; a split is a folder, a list file, or several of them."""
    key = split if split is not None and content.get(split) else find_split(split or "", _split_keys(content))
    value = content.get(key) if key else None
    if not value:
        available = ", ".join(_split_keys(content))
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
    if len(entry) > _MAX_PATH:
        raise DataError(f"{yaml_folder}: expected paths of at most {_MAX_PATH:,} characters, got {len(entry):,}")
    # Exports of labeling sites write ../train/images for a folder beside data.yaml, and paths of another machine.
    parts = [part for part in PurePosixPath(entry.replace("\\", "/")).parts if part not in ("..", "/")]
    tails = [Path(*parts[start:]) for start in range(len(parts))]
    candidates = [
        base / entry,
        yaml_folder / entry,
        *(folder / tail for tail in tails for folder in (base, yaml_folder)),
    ]
    path = next((candidate for candidate in candidates if file_exists(candidate)), None)
    if path is None:
        raise DataError(
            f"{base / entry}: expected a folder or list, as data.yaml names it, got a path that does not exist"
        )
    if path.is_dir():
        return images_by_name(path, IMAGE_SUFFIXES)
    return listed_images(path, ImageFinder(path.parent, [base, yaml_folder]))


def listed_images(path: Path, finder: ImageFinder) -> dict[str, Path]:
    """Id -> image file of the lines of a list; paths are relative to the list, or end with a path in the dataset.

    Raises:
        DataError: Two images of the list differ in their suffix only.
    """
    lines = [line.strip() for line in read_text(path, limit=_MAX_LIST).splitlines() if line.strip()]
    beside = {line: path.parent / line for line in lines if file_exists(path.parent / line)}
    matches = finder.find_all(line for line in lines if line not in beside)
    named: dict[str, set[Path]] = {}
    for line in lines:
        name = strip_suffix(line).removeprefix("./")
        named.setdefault(name, set()).add(beside[line] if line in beside else matches[line])
    return {name: single_image(sorted(files)) for name, files in named.items()}


def _folder_images(root: Path, split: str | None) -> dict[str, Path]:
    """Id -> image file of a folder without a YAML file."""
    available = yolo_folder_splits(root)
    if split is None and not available:
        folder = next((root / name for name in _IMAGE_FOLDERS if (root / name).is_dir()), root)
        return images_by_name(folder, IMAGE_SUFFIXES)
    name = find_split(split or "", available)
    if name is None:
        problem = f"there is no split '{split}'" if split else "expected a split"
        raise DataError(f"{root}: {problem}; splits here: {', '.join(available) or 'none (leave @SPLIT out)'}")
    folders = (root / "images" / name, root / name / "images", root / name)
    return images_by_name(next(folder for folder in folders if folder.is_dir()), IMAGE_SUFFIXES)


def yolo_folder_splits(root: Path) -> tuple[str, ...]:
    """Splits of a folder without a YAML file: folders such as images/train, or train."""
    folders = [path for path in (*root.glob("images/*"), *root.glob("*")) if path.is_dir() and is_split_name(path.name)]
    return tuple(dict.fromkeys(sorted(path.name for path in folders)))


def _label_folder(folder: Path) -> Path:
    """The folder of the label files of a folder of images: `labels` in place of `images`, or the folder itself."""
    parts = list(folder.parts)
    for index in reversed(range(len(parts))):
        if parts[index].lower() in _IMAGE_FOLDERS:
            for name in _LABEL_FOLDERS:
                labels = Path(*parts[:index], name, *parts[index + 1 :])
                if labels.is_dir():
                    return labels
            if parts[index] == "images" and not any(folder.glob("*.txt")):
                return Path(*parts[:index], "labels", *parts[index + 1 :])
            break
    return folder
