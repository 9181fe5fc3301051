"""Reader of Pascal VOC: devkits with lists of splits, and folders of images and XML files as labeling tools write."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blitznet.core import classes
from blitznet.core.errors import DataError
from blitznet.core.image import IMAGE_SUFFIXES, ImageSource
from blitznet.core.sample import MaskSource
from blitznet.data.annotation_files import read_xml, require_size
from blitznet.data.color_masks import COLOR_TABLES, ColorMask, ColorTable, find_color_table, has_colors
from blitznet.data.dataset import (
    MAX_COORDINATE,
    Annotation,
    AnnotationArrays,
    IndexedDataset,
    UnknownClassError,
    files_by_name,
    read_class_list,
    read_text,
    single_image,
)
from blitznet.data.file_walk import composed
from blitznet.data.hash_split import in_hash_fraction
from blitznet.data.image_files import ImageFinder
from blitznet.data.masks import IndexMask
from blitznet.data.records import BACKGROUND_NAMES
from blitznet.data.sbd import MatMask
from blitznet.data.splits import find_split, is_split_name, split_aliases
from blitznet.data.voc_sbd import AUG_MASKS, AUG_SPLIT, SBD_ADVICE, augmented_ids, find_sbd, sbd_masks

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


IMAGE_FOLDERS = ("JPEGImages", "images", "Images", "img", "imgs")
XML_FOLDERS = ("Annotations", "annotations", "xml", "xmls", "labels", "Labels", *IMAGE_FOLDERS)
"""folders of images and of XML files, in the order in which they are searched; then the root itself"""


@dataclass(frozen=True, eq=False)
class VocDataset(IndexedDataset):
    """A split of a devkit, with class maps for the images that have one."""

    masks: tuple[str | None, ...] = ()
    """path of each sample's PNG; None without one"""
    masks_only: frozenset[int] = frozenset()
    """samples with a mask and without an XML file: their boxes were not annotated"""
    colors: ColorTable | None = None
    """the classes of the masks' colors; None: masks are class indices"""

    def _has_boxes(self, index: int) -> bool:
        return super()._has_boxes(index) and index not in self.masks_only

    def _mask(self, index: int, image: ImageSource) -> MaskSource | None:  # noqa: ARG002
        path = self.masks[index]
        if path is None:
            return None
        if path.endswith(".mat"):
            return MatMask(path)
        if self.colors is not None and has_colors(path, self.colors):
            return ColorMask(path, self.colors)
        return IndexMask(path, num_values=len(self.class_names) + 1)


def open_voc(
    root: Path, split: str | None, *, title: str, masks: tuple[str, ...] | None = None, mask_fraction: float = 1.0
) -> VocDataset:
    """Open a split of a devkit; all its annotations are parsed once, here.

    Without ImageSets, the dataset is all images with their XML files: side by side, or in folders such as `images` and
    `annotations`; a split is then a folder of them. An image without an XML file is not annotated.

    Class names are the lines of `classes.txt` in the root, or of `labelmap.txt`. Without these files they are VOC's 20
    if the devkit has masks and no other class, else the classes of the devkit: in VOC's order if all are VOC's, else
    in alphabetical order.

    Args:
        root: The folder of a year, such as VOC2012.
        split: Name of a list: `val`, or `Segmentation/val` for the list of that folder.
        title: Title of the dataset.
        masks: Folders of class maps to use instead of SegmentationClass; the first one with an image's mask wins.
        mask_fraction: Fraction of the images whose masks are used; the others count as images without a mask.

    Raises:
        DataError: The devkit, the split or `classes.txt` is missing or broken.
    """
    has_lists = (root / "ImageSets").is_dir()
    base = root if has_lists else _split_folder(root, split)
    xml_paths, images = voc_xml_files(base), _image_files(base)
    pngs = _mask_files(base, masks)
    if not has_lists and not xml_paths:
        raise DataError(
            f"{root}: expected a VOC devkit with folders ImageSets, JPEGImages and Annotations, or images with XML "
            "files"
        )
    finder = ImageFinder(
        base,
        [base / name for name in IMAGE_FOLDERS if (base / name).is_dir()]
        or [base / "JPEGImages" if has_lists else base],
    )
    ids = _read_split(root, split, {*images, *xml_paths, *pngs}) if has_lists else tuple(sorted({*xml_paths, *images}))
    owners = {path: name for name, files in images.items() for path in files}
    image_paths = {name: _image_path(name, images, xml_paths, owners, finder) for name in ids}
    if not has_lists:  # an image may have another name than its XML file
        named = {image_paths[name] for name in xml_paths}
        ids = tuple(name for name in ids if name in xml_paths or image_paths[name] not in named)
    has_xml = not has_lists or _has_annotations(root, required=not pngs)
    parsed = _read_annotations(base, ids, xml_paths, images) if has_xml else _Annotations()
    colors = _colors(root, has_masks=bool(pngs))
    names = _class_names(root, parsed.objects, xml_paths, ids, colors=colors, has_masks=bool(pngs))
    selected = tuple(pngs.get(name) if in_hash_fraction(f"mask of {name}", mask_fraction) else None for name in ids)
    return VocDataset(
        title=title,
        class_names=names,
        ids=ids,
        image_paths=tuple(str(image_paths[name]) for name in ids),
        annotations=AnnotationArrays.pack(_label(parsed, names, ids, xml_paths, root)) if has_xml else None,
        errors=parsed.errors,
        unlabeled=frozenset(index for index in parsed.missing if ids[index] not in pngs),
        declared_sizes=np.asarray(parsed.sizes, np.int64).reshape(-1, 2) if has_xml else None,
        label_places=tuple(sorted({str(path.parent) for path in xml_paths.values()} or {str(base / "Annotations")})),
        masks=selected,
        masks_only=frozenset(index for index in parsed.missing if ids[index] in pngs),
        colors=colors,
    )


def _colors(root: Path, *, has_masks: bool) -> ColorTable | None:
    """The color table; without masks only CVAT's, for the class names, and only if it is complete."""
    if has_masks:
        return find_color_table(root)
    with suppress(DataError):
        return find_color_table(root) if (root / COLOR_TABLES[0]).is_file() else None
    return None


def voc_splits(root: Path) -> tuple[str, ...]:
    """Names of the lists of a devkit, without those of single classes; or of its folders that are splits."""
    lists = root / "ImageSets"
    if lists.is_dir():
        names = {p.stem for folder in LIST_FOLDERS for p in (lists / folder).glob("*.txt")}
        return tuple(sorted(name for name in names if not any(name.endswith(f"_{end}") for end in names)))
    if voc_xml_files(root, depth=1):
        return ()
    folders = [path for path in root.iterdir() if path.is_dir() and is_split_name(path.name)]
    return tuple(sorted(path.name for path in folders if voc_xml_files(path, depth=2)))


def _split_folder(root: Path, split: str | None) -> Path:
    """The folder of a split of a dataset without lists; the root if it has no splits."""
    available = voc_splits(root)
    if split is None and not available:
        return root
    name = find_split(split or "", available)
    if name is None:
        problem = f"there is no split '{split}'" if split else "expected a split"
        listed = ", ".join(available) or "none (leave @SPLIT out)"
        raise DataError(
            f"{root}: {problem}; expected a VOC devkit with folders ImageSets, JPEGImages and Annotations, or a folder "
            f"of images and XML files for each split; splits here: {listed}"
        )
    return root / name


def voc_xml_files(base: Path, *, depth: int | None = None) -> dict[str, Path]:
    """Image id -> XML file, from the first folder that has some; `depth` is the levels of folders under the root."""
    for folder, levels in (*((base / name, None) for name in XML_FOLDERS), (base, depth)):
        files = {name: paths[0] for name, paths in files_by_name(folder, (".xml",), depth=levels).items()}
        if files:
            return files
    return {}


def _image_files(base: Path) -> dict[str, list[Path]]:
    """Image id -> image files, from the first folder that has some."""
    for name in IMAGE_FOLDERS:
        files = files_by_name(base / name, IMAGE_SUFFIXES)
        if files:
            return files
    return {} if (base / "ImageSets").is_dir() else files_by_name(base, IMAGE_SUFFIXES)


def _image_path(
    name: str, images: dict[str, list[Path]], xml_paths: dict[str, Path], owners: dict[Path, str], finder: ImageFinder
) -> Path:
    """The image of an id: by its name, else by the `filename` in its XML file, else where it was expected.

    The image of another XML file, by its name in `owners`, is never taken: a copied XML file has the `filename` of the
    first one.
    """
    if name in images:
        return single_image(images[name])
    path = xml_paths.get(name)
    if path is not None:
        with suppress(DataError):
            file_name = (read_xml(path, limit=_MAX_XML).findtext("filename") or "").strip()
            image = finder.find(file_name) if file_name else None
            if image is not None and image.is_file() and owners.get(image) not in xml_paths:
                return image
    image = finder.find(f"{name}.jpg")
    return image if image.is_file() else finder.find(f"{name}.png") if finder.find(f"{name}.png").is_file() else image


def _mask_files(root: Path, folders: tuple[str, ...] | None) -> dict[str, str]:
    """Image id -> path of its class map."""
    paths: dict[str, str] = {}
    for name in (MASK_FOLDER,) if folders is None else folders:
        folder = root / name
        if folders and not folder.is_dir():
            sbd = find_sbd(root) if name == AUG_MASKS else None
            if sbd is not None:
                paths = sbd_masks(sbd) | paths
                continue
            advice = f"; {SBD_ADVICE}" if name == AUG_MASKS else ""
            raise DataError(
                f"{folder}: expected a folder of masks, got a path that does not exist; "
                f"folders here: {_subfolders(root)}{advice}"
            )
        paths = {stem: str(files[-1]) for stem, files in files_by_name(folder, (".png",)).items()} | paths
    return paths


def _read_split(root: Path, split: str | None, known: set[str]) -> tuple[str, ...]:
    """The ids in a list; `known` are the names of images, XML files and masks."""
    lists = root / "ImageSets"
    exact = split is not None and "/" in split
    names = [split] if exact else split_aliases(split or "")
    candidates = [lists / folder / f"{name}.txt" for name in names for folder in (("",) if exact else LIST_FOLDERS)]
    path = next((p for p in candidates if p.is_file()), None)
    if path is None and split and not exact:
        lists_by_name = {p.stem: p for folder in reversed(LIST_FOLDERS) for p in (lists / folder).glob("*.txt")}
        path = lists_by_name.get(find_split(split, lists_by_name) or "")
    sbd = find_sbd(root) if path is None and split == AUG_SPLIT else None
    if sbd is not None:
        return augmented_ids(root, sbd)
    if split is None or path is None:
        paths = [p for folder in LIST_FOLDERS for p in (lists / folder).glob("*.txt")]
        available = sorted({f"{p.parent.name}/{p.stem}" if exact else p.stem for p in paths})
        problem = f"there is no split '{split}'" if split else "expected a split"
        advice = SBD_ADVICE if split == AUG_SPLIT else f"write voc:{root}@SPLIT"
        raise DataError(f"{root}: {problem}; splits here: {', '.join(available) or 'none'}; {advice}")
    lines = [composed(line.strip()) for line in read_text(path, limit=_MAX_LIST).splitlines() if line.strip()]
    ids = tuple(dict.fromkeys(_listed_id(line, known) for line in lines))
    if not ids:
        raise DataError(f"{path}: expected one image id per line, got an empty list")
    return ids


def _listed_id(line: str, known: set[str]) -> str:
    """The id of a line, which may have a class flag, a suffix, and folders in front."""
    stripped = _strip_class_flag(line)
    path = Path(stripped)
    has_suffix = path.suffix.lower() in (*IMAGE_SUFFIXES, ".xml")
    stem = path.with_suffix("").as_posix() if has_suffix else stripped
    return next((name for name in (line, stripped, stem, Path(stem).name) if name in known), stem)


def _strip_class_flag(line: str) -> str:
    """The id in a line of a list: ids may contain spaces, and the list of a class has a flag after each id."""
    words = line.rsplit(maxsplit=1)
    return words[0] if words[-1] in _CLASS_FLAGS else line


def _has_annotations(root: Path, *, required: bool) -> bool:
    """Whether a devkit has a folder of XML files; without one it must have masks."""
    if any((root / name).is_dir() for name in XML_FOLDERS[:2]):
        return True
    if required:
        raise DataError(
            f"{root / 'Annotations'}: expected a folder of annotations, got neither it nor masks; "
            f"is {root} a VOC devkit?"
        )
    return False


@dataclass(slots=True)
class _Annotations:
    """The annotations of all images of a split."""

    objects: list[NamedAnnotations] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    """(H, W) of each image as its XML file states it; 0 where it does not"""
    errors: dict[int, DataError] = field(default_factory=dict)
    missing: set[int] = field(default_factory=set)
    """samples without an XML file"""


def _read_annotations(
    base: Path, ids: tuple[str, ...], xml_paths: dict[str, Path], images: dict[str, list[Path]]
) -> _Annotations:
    """The annotations of each image; a missing XML file is an error if the image is missing too."""
    annotations = _Annotations()
    for index, name in enumerate(ids):
        objects: NamedAnnotations = []
        size = (0, 0)
        if name not in xml_paths and name in images:
            annotations.missing.add(index)
        else:
            try:
                objects, size = _parse_xml(xml_paths.get(name, base / "Annotations" / f"{name}.xml"))
            except DataError as error:
                annotations.errors[index] = error
        annotations.objects.append(objects)
        annotations.sizes.append(size)
    return annotations


def parse_annotation(path: Path) -> NamedAnnotations:
    """Parse the objects of one XML file.

    Raises:
        DataError: The file is missing, oversized, not well-formed, contains entities or a DTD, or has a broken object.
    """
    return _parse_xml(path)[0]


def _parse_xml(path: Path) -> tuple[NamedAnnotations, tuple[int, int]]:
    """The objects, and the (H, W) that the file states."""
    tree = read_xml(path, limit=_MAX_XML)
    objects = [_parse_object(node, path, number) for number, node in enumerate(tree.iter("object"), 1)]
    try:
        return objects, require_size(tree.findtext("size/height"), tree.findtext("size/width"), "")
    except DataError:
        return objects, (0, 0)


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
    difficult = (node.findtext("difficult") or "0").strip().lower() in ("1", "true")
    # VOC counts pixels from 1 and includes the last one.
    return name, Annotation(box=(x1 - 1, y1 - 1, x2, y2), label=-1, difficult=difficult)


def _class_names(
    root: Path,
    annotations: Sequence[NamedAnnotations],
    xml_paths: dict[str, Path],
    ids: tuple[str, ...],
    *,
    colors: ColorTable | None,
    has_masks: bool,
) -> tuple[str, ...]:
    if (root / "classes.txt").is_file():
        names = read_class_list(root / "classes.txt")
        return names[1:] if names[0].lower() in BACKGROUND_NAMES else names
    used = {name for objects in annotations for name, _ in objects}
    if used != set(classes.VOC):
        # All splits of a devkit must have the same class names, or a mask value would mean another class in each.
        used |= _names_outside_split(xml_paths, frozenset(ids))
    if colors is not None:
        return (*colors.class_names, *sorted(used - {*colors.class_names}))
    if used <= set(classes.VOC):
        return classes.VOC if has_masks or not used else tuple(name for name in classes.VOC if name in used)
    return tuple(sorted(used))


def _names_outside_split(xml_paths: dict[str, Path], ids: frozenset[str]) -> set[str]:
    """Class names in annotations outside the split; files that cannot be parsed are skipped."""
    names: set[str] = set()
    for name, path in xml_paths.items():
        if name not in ids:
            with suppress(DataError):
                names |= {name for name, _ in parse_annotation(path)}
    return names


def _label(
    annotations: _Annotations, names: tuple[str, ...], ids: tuple[str, ...], xml_paths: dict[str, Path], root: Path
) -> list[list[Annotation]]:
    """Replace class names by labels; an image with an unknown name gets an entry in the errors."""
    labels = {name: label for label, name in enumerate(names)}
    labeled: list[list[Annotation]] = []
    for index, objects in enumerate(annotations.objects):
        unknown = sorted({name for name, _ in objects if name not in labels})
        if unknown:
            annotations.errors[index] = UnknownClassError(
                f"{xml_paths[ids[index]]}: expected classes of {root / 'classes.txt'}, got '{', '.join(unknown)}'; add "
                "a line for each"
            )
            objects = []
        labeled.append([annotation._replace(label=labels[name]) for name, annotation in objects])
    return labeled


def _subfolders(root: Path) -> str:
    return ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir()))
