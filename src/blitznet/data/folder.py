"""Reader of mask folders: images, PNG masks of the same names, and a list of classes; class maps, no boxes."""

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from blitznet.core.errors import DataError
from blitznet.core.image import IMAGE_SUFFIXES, ImageSource
from blitznet.core.sample import MaskSource
from blitznet.data.annotation_files import read_csv
from blitznet.data.color_masks import ColorMask, ColorTable, find_color_table, has_colors
from blitznet.data.dataset import IndexedDataset, files_by_name, read_class_list, read_text, single_image
from blitznet.data.file_walk import composed, walk_files
from blitznet.data.masks import IndexMask, RasterizedMask
from blitznet.data.records import BACKGROUND_NAMES, IGNORED_NAMES
from blitznet.data.splits import find_split, is_split_name

_CLASS_LISTS = ("classes.txt", "class_names.txt")
ROBOFLOW_CLASSES = "_classes.csv"
_IMAGE_FOLDERS = ("images", "Images", "JPEGImages", "imgs", "img", "image")
_MASK_FOLDERS = ("masks", "Masks", "SegmentationClassPNG", "SegmentationClass", "mask", "labels", "annotations")
_MASK_ENDINGS = ("", "_mask", "-mask", "_masks", "_seg", "_label", "_L")
"""what tools append to an image's name for its mask"""
_MAX_LIST = 64 << 20
_MAX_CLASSES = 254
"""0 is background and 255 ignored"""


@dataclass(frozen=True, eq=False)
class FolderDataset(IndexedDataset):
    """Images with class maps and without boxes."""

    masks: tuple[str | None, ...]
    """path of each sample's PNG; None without one"""
    background: bool
    """whether mask value 0 is background; if not, it is the first class"""
    colors: ColorTable | None = None
    """the classes of the masks' colors; None: masks are class indices"""

    def _mask(self, index: int, image: ImageSource) -> MaskSource | None:
        path = self.masks[index]
        if path is None:
            return None if index in self.unlabeled else RasterizedMask(self.ids[index], image.size(), ())
        if self.colors is not None and has_colors(path, self.colors):
            return ColorMask(path, self.colors)
        offset = 0 if self.background else 1
        return IndexMask(path, num_values=len(self.class_names) + 1 - offset, offset=offset)


@dataclass(frozen=True, slots=True)
class _Classes:
    names: tuple[str, ...]
    background: bool
    colors: ColorTable | None = None


def open_folder(root: Path, split: str | None, *, title: str) -> FolderDataset:
    """Open the images under `root`/images; an image without a PNG in masks/ has no mask.

    Line k of classes.txt names mask value k - 1. If the first line is `background`, value 0 is background instead of
    a class. A table of colors, such as CVAT's labelmap.txt or class_dict.csv, means that masks are colors. A split is
    a list splits/SPLIT.txt of names, or a folder images/SPLIT with masks/SPLIT, or a folder SPLIT with all of this.
    Roboflow's folders of `X.jpg`, `X_mask.png` and `_classes.csv` are read too.

    Raises:
        DataError: The list of classes, the images, the masks or the split are missing or broken.
    """
    base = _split_folder(root, split)
    classes = _read_classes(root, base)
    if not 0 < len(classes.names) <= _MAX_CLASSES:
        raise DataError(f"{root / 'classes.txt'}: expected 1 to {_MAX_CLASSES} classes, got {len(classes.names)}")
    image_folder, mask_folder = find_mask_folders(base)
    pngs = files_by_name(mask_folder, (".png", ".bmp", ".tif", ".tiff"))
    images = _select_images(root, image_folder, None if base != root else split, pngs)
    masks = tuple(_mask_of(name, pngs, is_beside=image_folder == mask_folder) for name in images)
    if not pngs or (split is None and not any(masks)):
        raise DataError(
            f"{mask_folder}: expected PNG masks with the names of the images, got {_first_files(mask_folder)}"
        )
    return FolderDataset(
        title=title,
        class_names=classes.names,
        ids=tuple(images),
        image_paths=tuple(str(path) for path in images.values()),
        annotations=None,
        errors={},
        unlabeled=frozenset(index for index, path in enumerate(masks) if path is None),
        label_places=(str(mask_folder),),
        masks=masks,
        background=classes.background,
        colors=classes.colors,
    )


def find_mask_folders(base: Path) -> tuple[Path, Path]:
    """The folders of the images and of the masks; both are `base` where they lie side by side."""
    images = next((base / name for name in _IMAGE_FOLDERS if (base / name).is_dir()), None)
    masks = next((base / name for name in _MASK_FOLDERS if (base / name).is_dir()), None)
    if images is None and masks is None and (base / ROBOFLOW_CLASSES).is_file():
        return base, base
    return images or base / "images", masks or (images if images and _has_endings(images) else base / "masks")


def mask_folder_splits(root: Path) -> tuple[str, ...]:
    """Splits of a mask folder: lists, folders of images, or folders that are mask folders themselves."""
    lists = {path.stem for path in (root / "splits").glob("*.txt")}
    images, _ = find_mask_folders(root)
    inside = {path.name for path in images.glob("*") if path.is_dir()} if images != root else set()
    return tuple(sorted(lists | inside)) or tuple(
        sorted(path.name for path in root.glob("*") if is_split_name(path.name) and _is_mask_folder(path))
    )


def _is_mask_folder(folder: Path) -> bool:
    return (folder / ROBOFLOW_CLASSES).is_file() or (folder.is_dir() and find_mask_folders(folder)[1].is_dir())


def _split_folder(root: Path, split: str | None) -> Path:
    """The folder of a split that is a mask folder itself, else the root."""
    folders = [path.name for path in root.glob("*") if _is_mask_folder(path)]
    name = find_split(split or "", folders)
    return root if name is None else root / name


def _read_classes(root: Path, base: Path) -> _Classes:
    for folder in dict.fromkeys((base, root)):
        colors = find_color_table(folder)
        if colors is not None:
            return _Classes(colors.class_names, background=True, colors=colors)
        if (folder / ROBOFLOW_CLASSES).is_file():
            return _without_background(_read_roboflow_classes(folder / ROBOFLOW_CLASSES))
        path = next((folder / name for name in _CLASS_LISTS if (folder / name).is_file()), None)
        if path is not None:
            return _without_background(read_class_list(path))
    return _without_background(read_class_list(root / _CLASS_LISTS[0]))


def _without_background(lines: tuple[str, ...]) -> _Classes:
    """The classes of the lines; labelme's first lines are `__ignore__` and `_background_`."""
    names = tuple(line for line in lines if line.lower() not in IGNORED_NAMES)
    background = bool(names) and names[0].lower() in BACKGROUND_NAMES
    return _Classes(names[1:] if background else names, background)


def _read_roboflow_classes(path: Path) -> tuple[str, ...]:
    """Class names by ascending pixel value, from the columns `Pixel Value` and `Class`."""
    values: dict[int, str] = {}
    for number, row in enumerate(read_csv(path), 2):
        try:
            values[int(row["Pixel Value"])] = row["Class"]
        except (KeyError, ValueError) as error:
            raise DataError(f"{path}:{number}: expected a pixel value and a class name") from error
    if sorted(values) != list(range(len(values))) or not values:
        raise DataError(f"{path}: expected pixel values 0, 1, 2 ..., got {sorted(values)[:8]}")
    return tuple(values[value] for value in range(len(values)))


def _first_files(folder: Path) -> str:
    names = sorted(path.name for path in walk_files(folder, depth=1))
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") or "none"


def _has_endings(folder: Path) -> bool:
    return any(path.stem.endswith(_MASK_ENDINGS[1:]) for path in folder.glob("*.png"))


def _mask_of(name: str, pngs: dict[str, list[Path]], *, is_beside: bool) -> str | None:
    """The mask of an image name; one beside the image has another name."""
    endings = _MASK_ENDINGS[1:] if is_beside else _MASK_ENDINGS
    path = next((pngs[name + ending][-1] for ending in endings if name + ending in pngs), None)
    return None if path is None else str(path)


def _select_images(root: Path, folder: Path, split: str | None, pngs: dict[str, list[Path]]) -> dict[str, Path]:
    """Path relative to the folder of the images, without suffix -> file."""
    images = files_by_name(folder, IMAGE_SUFFIXES)
    masks = {str(path) for paths in pngs.values() for path in paths}
    images = {
        name: files
        for name, files in images.items()
        if not (name.endswith(_MASK_ENDINGS[1:]) and masks.issuperset(map(str, files)))
    }
    if split is None:
        selected = images
    elif (root / "splits" / f"{split}.txt").is_file():
        lines = read_text(root / "splits" / f"{split}.txt", limit=_MAX_LIST).splitlines()
        names = [_strip_suffix(composed(line.strip()), images) for line in lines if line.strip()]
        selected = {name: images.get(name, [folder / f"{name}.jpg"]) for name in names}
    else:
        available = mask_folder_splits(root)
        found_split = find_split(split, available)
        if found_split is None:
            listed = ", ".join(available) or "none (leave @SPLIT out)"
            raise DataError(f"{root}: there is no split '{split}'; splits here: {listed}")
        selected = {name: files for name, files in images.items() if name.startswith(f"{found_split}/")}
    if not selected:
        raise DataError(f"{folder}: expected images ({', '.join(IMAGE_SUFFIXES)}), got none")
    return {name: single_image(files) for name, files in selected.items()}


def _strip_suffix(name: str, images: Container[str]) -> str:
    """A listed name without its image suffix; the name `a.jpg` of an image `a.jpg.png` is kept."""
    path = Path(name)
    return path.with_suffix("").as_posix() if name not in images and path.suffix.lower() in IMAGE_SUFFIXES else name
