"""Reader of Pascal VOC devkits: JPEGImages, Annotations/*.xml, SegmentationClass/*.png, ImageSets/*/SPLIT.txt."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blitznet.core import classes
from blitznet.core.errors import DataError, MissingExtra
from blitznet.core.image import IMAGE_SUFFIXES, ImageSource
from blitznet.data.dataset import (
    MAX_COORDINATE,
    Annotation,
    AnnotationArrays,
    IndexedDataset,
    UnknownClassError,
    read_class_list,
    read_text,
    single_image,
)
from blitznet.data.hash_split import in_hash_fraction
from blitznet.data.masks import IndexMask

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LIST_FOLDERS = ("Main", "Segmentation", "SegmentationAug")
"""folders of ImageSets, in the order in which a split is searched; the last holds the authors' list of 10,582 images"""
MASK_FOLDER = "SegmentationClass"
_CLASS_FLAGS = ("-1", "0", "1")
"""flag after each id in the list of one class: absent, only difficult objects, present"""
_MAX_XML = 4 << 20
_MAX_LIST = 64 << 20

NamedAnnotations = list[tuple[str, Annotation]]
"""objects of one image: the class name, and the annotation with label -1"""


@dataclass(frozen=True, eq=False)
class VocDataset(IndexedDataset):
    """A split of a devkit, with class maps for the images that have one."""

    masks: tuple[str | None, ...] = ()
    """path of each sample's PNG; None without one"""

    def _mask(self, index: int, image: ImageSource) -> IndexMask | None:  # noqa: ARG002
        path = self.masks[index]
        return None if path is None else IndexMask(path, num_values=len(self.class_names) + 1)


def open_voc(
    root: Path, split: str | None, *, title: str, masks: tuple[str, ...] | None = None, mask_fraction: float = 1.0
) -> VocDataset:
    """Open a split of a devkit; all its annotations are parsed once, here.

    Class names are the lines of `classes.txt` in the root. Without that file they are VOC's 20 if the devkit has no
    other class, else the classes of the devkit in alphabetical order.

    Args:
        root: The folder of a year, such as VOC2012.
        split: Name of a list: `val`, or `Segmentation/val` for the list of that folder.
        title: Title of the dataset.
        masks: Folders of class maps to use instead of SegmentationClass; the first one with an image's mask wins.
        mask_fraction: Fraction of the images whose masks are used; the others count as images without a mask.

    Raises:
        DataError: The devkit, the split or `classes.txt` is missing or broken.
    """
    images = _files_by_stem(root / "JPEGImages", IMAGE_SUFFIXES)
    ids = _read_split(root, split, images)
    pngs = _mask_files(root, masks)
    annotations, errors = _read_annotations(root, ids, required=not pngs)
    names = _class_names(root, annotations or [], ids)
    packed = None if annotations is None else AnnotationArrays.pack(_label(annotations, names, ids, errors, root))
    return VocDataset(
        title=title,
        class_names=names,
        ids=ids,
        image_paths=tuple(str(single_image(images.get(name, [root / "JPEGImages" / f"{name}.jpg"]))) for name in ids),
        annotations=packed,
        errors=errors,
        masks=tuple(pngs.get(name) if in_hash_fraction(f"mask of {name}", mask_fraction) else None for name in ids),
    )


def _mask_files(root: Path, folders: tuple[str, ...] | None) -> dict[str, str]:
    """Image id -> path of its class map."""
    paths: dict[str, str] = {}
    for name in (MASK_FOLDER,) if folders is None else folders:
        folder = root / name
        if folders and not folder.is_dir():
            raise DataError(
                f"{folder}: expected a folder of masks, got a path that does not exist; "
                f"folders here: {_subfolders(root)}"
            )
        paths = {stem: str(files[-1]) for stem, files in _files_by_stem(folder, (".png",)).items()} | paths
    return paths


def _read_split(root: Path, split: str | None, images: Iterable[str]) -> tuple[str, ...]:
    lists = root / "ImageSets"
    if not lists.is_dir():
        raise DataError(f"{root}: expected a VOC devkit with folders ImageSets, JPEGImages and Annotations")
    exact = split is not None and "/" in split
    candidates = [lists / f"{split}.txt"] if exact else [lists / folder / f"{split}.txt" for folder in LIST_FOLDERS]
    path = next((p for p in candidates if p.is_file()), None)
    if split is None or path is None:
        paths = [p for folder in LIST_FOLDERS for p in (lists / folder).glob("*.txt")]
        available = sorted({f"{p.parent.name}/{p.stem}" if exact else p.stem for p in paths})
        problem = f"there is no split '{split}'" if split else "expected a split"
        raise DataError(f"{root}: {problem}; splits here: {', '.join(available) or 'none'}; write voc:{root}@SPLIT")
    lines = [line.strip() for line in read_text(path, limit=_MAX_LIST).splitlines() if line.strip()]
    stripped = [_strip_class_flag(line) for line in lines]
    known = {*images, *_files_by_stem(root / "Annotations", (".xml",))} if stripped != lines else ()
    ids = tuple(dict.fromkeys(line if line in known else name for line, name in zip(lines, stripped, strict=True)))
    if not ids:
        raise DataError(f"{path}: expected one image id per line, got an empty list")
    return ids


def _strip_class_flag(line: str) -> str:
    """The id in a line of a list: ids may contain spaces, and the list of a class has a flag after each id."""
    words = line.rsplit(maxsplit=1)
    return words[0] if words[-1] in _CLASS_FLAGS else line


def _read_annotations(
    root: Path, ids: tuple[str, ...], *, required: bool
) -> tuple[list[NamedAnnotations] | None, dict[int, DataError]]:
    """The objects of each image; None if the devkit has no Annotations folder but masks."""
    folder = root / "Annotations"
    if not folder.is_dir():
        if required:
            raise DataError(
                f"{folder}: expected a folder of annotations, got neither it nor masks; is {root} a VOC devkit?"
            )
        return None, {}
    annotations: list[NamedAnnotations] = []
    errors: dict[int, DataError] = {}
    for index, name in enumerate(ids):
        try:
            annotations.append(parse_annotation(folder / f"{name}.xml"))
        except DataError as error:
            errors[index] = error
            annotations.append([])
    return annotations, errors


def parse_annotation(path: Path) -> NamedAnnotations:
    """Parse the objects of one XML file.

    Raises:
        DataError: The file is missing, oversized, not well-formed, contains entities or a DTD, or has a broken object.
    """
    try:
        from defusedxml.common import DefusedXmlException
        from defusedxml.ElementTree import ParseError, fromstring
    except ImportError as error:
        raise MissingExtra("reading VOC annotations", "data") from error
    try:
        tree = fromstring(read_text(path, limit=_MAX_XML), forbid_dtd=True)
    except ParseError as error:
        raise DataError(f"{path}: not well-formed XML ({error}); fix or remove it") from error
    except (DefusedXmlException, ValueError) as error:
        raise DataError(f"{path}: entities and DTDs are refused in annotations; remove them") from error
    return [_parse_object(node, path, number) for number, node in enumerate(tree.iter("object"), 1)]


def _parse_object(node: "Element", path: Path, number: int) -> tuple[str, Annotation]:
    name = (node.findtext("name") or "").strip()
    if not name:
        raise DataError(f"{path}: object {number}: expected a name, got none; add it")
    tags = ("xmin", "ymin", "xmax", "ymax")
    try:
        x1, y1, x2, y2 = (float(node.findtext(f"bndbox/{tag}") or "") for tag in tags)
    except ValueError as error:
        raise DataError(f"{path}: object {number} ('{name}'): expected numbers for {' '.join(tags)}") from error
    if not (np.abs([x1, y1, x2, y2]) < MAX_COORDINATE).all():
        raise DataError(f"{path}: object {number} ('{name}'): expected pixel coordinates, got {[x1, y1, x2, y2]}")
    difficult = (node.findtext("difficult") or "0").strip() == "1"
    # VOC counts pixels from 1 and includes the last one.
    return name, Annotation(box=(x1 - 1, y1 - 1, x2, y2), label=-1, difficult=difficult)


def _class_names(root: Path, annotations: list[NamedAnnotations], ids: tuple[str, ...]) -> tuple[str, ...]:
    if (root / "classes.txt").is_file():
        names = read_class_list(root / "classes.txt")
        return names[1:] if names[0] == "background" else names
    used = {name for objects in annotations for name, _ in objects}
    if used != set(classes.VOC):
        # All splits of a devkit must have the same class names, or a mask value would mean another class in each.
        used |= _names_outside_split(root / "Annotations", frozenset(ids))
    return classes.VOC if used <= set(classes.VOC) else tuple(sorted(used))


def _names_outside_split(folder: Path, ids: frozenset[str]) -> set[str]:
    """Class names in annotations outside the split; files that cannot be parsed are skipped."""
    names: set[str] = set()
    for path in folder.glob("*.xml"):
        if path.stem not in ids:
            with suppress(DataError):
                names |= {name for name, _ in parse_annotation(path)}
    return names


def _label(
    annotations: list[NamedAnnotations],
    names: tuple[str, ...],
    ids: tuple[str, ...],
    errors: dict[int, DataError],
    root: Path,
) -> list[list[Annotation]]:
    """Replace class names by labels; an image with an unknown name gets an entry in `errors`."""
    labels = {name: label for label, name in enumerate(names)}
    labeled: list[list[Annotation]] = []
    for index, objects in enumerate(annotations):
        unknown = sorted({name for name, _ in objects if name not in labels})
        if unknown:
            path = root / "Annotations" / f"{ids[index]}.xml"
            errors[index] = UnknownClassError(
                f"{path}: expected classes of {root / 'classes.txt'}, got '{', '.join(unknown)}'; add a line for each"
            )
            objects = []
        labeled.append([annotation._replace(label=labels[name]) for name, annotation in objects])
    return labeled


def _files_by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, list[Path]]:
    """Name without suffix -> files, from one listing: faster than a query for each file."""
    files: dict[str, list[Path]] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.suffix.lower() in suffixes:
            files.setdefault(path.stem, []).append(path)
    return files


def _subfolders(root: Path) -> str:
    return ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir()))
