"""Reader of mask folders: images/, masks/ with PNGs of the same names, and classes.txt; class maps, no boxes."""

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from blitznet.core.errors import DataError
from blitznet.core.image import IMAGE_SUFFIXES, ImageSource
from blitznet.data.dataset import IndexedDataset, files_by_name, read_class_list, read_text, single_image
from blitznet.data.masks import IndexMask

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

    def _mask(self, index: int, image: ImageSource) -> IndexMask | None:  # noqa: ARG002
        path = self.masks[index]
        if path is None:
            return None
        offset = 0 if self.background else 1
        return IndexMask(path, num_values=len(self.class_names) + 1 - offset, offset=offset)


def open_folder(root: Path, split: str | None, *, title: str) -> FolderDataset:
    """Open the images under `root`/images; an image without a PNG in masks/ has no mask.

    Line k of classes.txt names mask value k - 1. If the first line is `background`, value 0 is background instead of
    a class. A split is a list splits/SPLIT.txt of names, or a folder images/SPLIT with masks/SPLIT.

    Raises:
        DataError: classes.txt, the images, the masks or the split are missing or broken.
    """
    lines = read_class_list(root / "classes.txt")
    background = lines[0].lower() == "background"
    names = lines[1:] if background else lines
    if not 0 < len(names) <= _MAX_CLASSES:
        raise DataError(f"{root / 'classes.txt'}: expected 1 to {_MAX_CLASSES} classes, got {len(names)}")
    images = _images(root, split)
    pngs = files_by_name(root / "masks", (".png",))
    if not pngs:
        raise DataError(f"{root / 'masks'}: expected PNG masks with the names of the images, got none")
    return FolderDataset(
        title=title,
        class_names=names,
        ids=tuple(images),
        image_paths=tuple(str(path) for path in images.values()),
        annotations=None,
        errors={},
        masks=tuple(str(pngs[name][-1]) if name in pngs else None for name in images),
        background=background,
    )


def _images(root: Path, split: str | None) -> dict[str, Path]:
    """Path relative to images/, without suffix -> file."""
    images = files_by_name(root / "images", IMAGE_SUFFIXES)
    if split is None:
        selected = images
    elif (root / "splits" / f"{split}.txt").is_file():
        lines = read_text(root / "splits" / f"{split}.txt", limit=_MAX_LIST).splitlines()
        names = [_strip_suffix(line.strip(), images) for line in lines if line.strip()]
        selected = {name: images.get(name, [root / "images" / f"{name}.jpg"]) for name in names}
    elif (root / "images" / split).is_dir():
        selected = {name: files for name, files in images.items() if name.startswith(f"{split}/")}
    else:
        lists = {p.stem for p in (root / "splits").glob("*.txt")}
        folders = {p.name for p in (root / "images").glob("*") if p.is_dir()}
        available = ", ".join(sorted(lists | folders)) or "none (leave @SPLIT out)"
        raise DataError(f"{root}: there is no split '{split}'; splits here: {available}")
    if not selected:
        raise DataError(f"{root / 'images'}: expected images ({', '.join(IMAGE_SUFFIXES)}), got none")
    return {name: single_image(files) for name, files in selected.items()}


def _strip_suffix(name: str, images: Container[str]) -> str:
    """A listed name without its image suffix; the name `a.jpg` of an image `a.jpg.png` is kept."""
    path = Path(name)
    return path.with_suffix("").as_posix() if name not in images and path.suffix.lower() in IMAGE_SUFFIXES else name
