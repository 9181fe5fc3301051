"""Pascal VOC devkit: JPEGImages, Annotations/*.xml, SegmentationClass/*.png, ImageSets/*/SPLIT.txt."""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blitznet.core import classes
from blitznet.core.errors import DataError, MissingExtra
from blitznet.core.image import SUFFIXES, ImageSource
from blitznet.data.dataset import (
    MAX_SIDE,
    Annotation,
    IndexedDataset,
    Objects,
    UnknownClassError,
    only_image,
    read_names,
    read_text,
)
from blitznet.data.masks import IndexMask

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LISTS = ("Main", "Segmentation", "SegmentationAug")
"""folders of ImageSets, in the order in which a split is looked for; the last is the authors' of 10,582 images"""
MASKS = "SegmentationClass"
_VERDICTS = ("-1", "0", "1")
"""behind every id of a class's own list: not there, only difficult, there"""
_MAX_XML = 4 << 20
_MAX_LIST = 64 << 20

Found = list[tuple[str, Annotation]]
"""a image's objects: name, and the rest with label -1"""


@dataclass(frozen=True, eq=False)
class VocDataset(IndexedDataset):
    """A split of a devkit, with the class maps of those images that have one."""

    masks: tuple[str | None, ...] = ()

    def _mask(self, index: int, image: ImageSource) -> IndexMask | None:  # noqa: ARG002
        path = self.masks[index]
        return None if path is None else IndexMask(path, known=len(self.class_names) + 1)


def open_voc(
    root: Path, split: str | None, *, title: str, masks: tuple[str, ...] | None = None, masked: float = 1.0
) -> VocDataset:
    """A split of the devkit under `root` (the folder VOC2012): `val`, or `Segmentation/val` for that very list.

    `masks` names folders of class maps to use instead of SegmentationClass: the first that has a image's counts.
    `masked` is the share of the images whose masks are used; the others are as if they had none.
    Every annotation of the split is parsed here, once. Names: the lines of `classes.txt` in the root; else VOC's
    20 if no other occur in the devkit; else those that occur, in alphabetical order.
    """
    images = _files(root / "JPEGImages", SUFFIXES)
    ids = _read_split(root, split, images)
    pngs = _mask_files(root, masks)
    found, errors = _read_annotations(root, ids, boxes_wanted=not pngs)
    names = _names(root, found or [], ids)
    objects = None if found is None else Objects.pack(_label(found, names, ids, errors, root))
    return VocDataset(
        title=title,
        class_names=names,
        ids=ids,
        images=tuple(str(only_image(images.get(name, [root / "JPEGImages" / f"{name}.jpg"]))) for name in ids),
        objects=objects,
        errors=errors,
        masks=tuple(pngs.get(name) if _keeps_mask(name, masked) else None for name in ids),
    )


def _keeps_mask(name: str, share: float) -> bool:
    """Whether a image's mask is among the share that is used: by a hash of its id, so a larger share holds it too."""
    digest = int.from_bytes(hashlib.sha256(f"mask of {name}".encode()).digest()[:4], "little")
    return digest < share * 2**32


def _mask_files(root: Path, folders: tuple[str, ...] | None) -> dict[str, str]:
    """Image id -> the path of its class map."""
    found: dict[str, str] = {}
    for name in (MASKS,) if folders is None else folders:
        folder = root / name
        if folders and not folder.is_dir():
            raise DataError(f"{folder}: there is no such folder of masks; folders here: {_folders(root)}")
        found = {key: str(files[-1]) for key, files in _files(folder, (".png",)).items()} | found
    return found


def _read_split(root: Path, split: str | None, images: Iterable[str]) -> tuple[str, ...]:
    lists = root / "ImageSets"
    if not lists.is_dir():
        raise DataError(f"{root}: expected a VOC devkit folder with ImageSets, JPEGImages and Annotations in it")
    exact = split is not None and "/" in split
    candidates = [lists / f"{split}.txt"] if exact else [lists / part / f"{split}.txt" for part in LISTS]
    path = next((p for p in candidates if p.is_file()), None)
    if split is None or path is None:
        found = [p for part in LISTS for p in (lists / part).glob("*.txt")]
        there = sorted({f"{p.parent.name}/{p.stem}" if exact else p.stem for p in found})
        expected = f"there is no split '{split}'" if split else "expected a split"
        raise DataError(f"{root}: {expected}; splits here: {', '.join(there) or 'none'}; write voc:{root}@SPLIT")
    lines = [line.strip() for line in read_text(path, limit=_MAX_LIST).splitlines() if line.strip()]
    bare = [_without_verdict(line) for line in lines]
    known = {*images, *_files(root / "Annotations", (".xml",))} if bare != lines else ()
    ids = tuple(dict.fromkeys(line if line in known else name for line, name in zip(lines, bare, strict=True)))
    if not ids:
        raise DataError(f"{path}: expected one image id a line, got an empty list")
    return ids


def _without_verdict(line: str) -> str:
    """The id in a line of a list, if its end is no part of the image's name: ids may have spaces."""
    words = line.rsplit(maxsplit=1)
    return words[0] if words[-1] in _VERDICTS else line


def _read_annotations(
    root: Path, ids: tuple[str, ...], *, boxes_wanted: bool
) -> tuple[list[Found] | None, dict[int, DataError]]:
    """The objects of every image; None where the devkit has no Annotations folder, only masks."""
    folder = root / "Annotations"
    if not folder.is_dir():
        if boxes_wanted:
            raise DataError(f"{folder}: there is no such folder, and no masks either; is {root} a VOC devkit?")
        return None, {}
    found: list[Found] = []
    errors: dict[int, DataError] = {}
    for index, name in enumerate(ids):
        try:
            found.append(parse_annotation(folder / f"{name}.xml"))
        except DataError as error:
            errors[index] = error
            found.append([])
    return found, errors


def parse_annotation(path: Path) -> Found:
    """The objects of one XML file; entities, DTDs and oversized files are refused."""
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
    return [_parse_object(node, path, k) for k, node in enumerate(tree.iter("object"), 1)]


def _parse_object(node: "Element", path: Path, number: int) -> tuple[str, Annotation]:
    name = (node.findtext("name") or "").strip()
    if not name:
        raise DataError(f"{path}: object {number} has no name; fix the file")
    try:
        sides = [float(node.findtext(f"bndbox/{side}") or "") for side in ("xmin", "ymin", "xmax", "ymax")]
    except ValueError as error:
        raise DataError(f"{path}: object {number} ('{name}') wants xmin ymin xmax ymax as numbers") from error
    if not (np.abs(sides) < MAX_SIDE).all():
        raise DataError(f"{path}: object {number} ('{name}') has coordinates that are no pixels: {sides}")
    difficult = (node.findtext("difficult") or "0").strip() == "1"
    x1, y1, x2, y2 = sides
    # VOC counts pixels from 1 and includes the last one
    return name, Annotation(box=(x1 - 1, y1 - 1, x2, y2), label=-1, difficult=difficult)


def _names(root: Path, found: list[Found], ids: tuple[str, ...]) -> tuple[str, ...]:
    if (root / "classes.txt").is_file():
        names = read_names(root / "classes.txt")
        return names[1:] if names[0] == "background" else names
    occurring = {name for objects in found for name, _ in objects}
    if occurring != set(classes.VOC):
        # all splits of a devkit must agree on the names, or mask values would mean another class in each
        occurring |= _names_elsewhere(root / "Annotations", frozenset(ids))
    return classes.VOC if occurring <= set(classes.VOC) else tuple(sorted(occurring))


def _names_elsewhere(folder: Path, ids: frozenset[str]) -> set[str]:
    """The names in the annotations that are not in the split; what cannot be read says nothing."""
    names: set[str] = set()
    for path in folder.glob("*.xml"):
        if path.stem not in ids:
            with suppress(DataError):
                names |= {name for name, _ in parse_annotation(path)}
    return names


def _label(
    found: list[Found], names: tuple[str, ...], ids: tuple[str, ...], errors: dict[int, DataError], root: Path
) -> list[list[Annotation]]:
    """Names to labels; a image with an unknown name goes to `errors`."""
    index = {name: k for k, name in enumerate(names)}
    labelled: list[list[Annotation]] = []
    for at, objects in enumerate(found):
        unknown = sorted({name for name, _ in objects if name not in index})
        if unknown:
            path = root / "Annotations" / f"{ids[at]}.xml"
            errors[at] = UnknownClassError(f"{path}: '{', '.join(unknown)}' is not a line of {root / 'classes.txt'}")
            objects = []
        labelled.append([row._replace(label=index[name]) for name, row in objects])
    return labelled


def _files(folder: Path, suffixes: tuple[str, ...]) -> dict[str, list[Path]]:
    """Name without suffix -> files, of one listing: cheaper than asking for each file."""
    found: dict[str, list[Path]] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.suffix.lower() in suffixes:
            found.setdefault(path.stem, []).append(path)
    return found


def _folders(root: Path) -> str:
    return ", ".join(sorted(p.name for p in root.iterdir() if p.is_dir()))
