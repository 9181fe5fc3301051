"""A folder: images/, masks/ with PNGs of the same names, and classes.txt; class maps, no boxes."""

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from blitznet.core.errors import DataError
from blitznet.core.image import SUFFIXES, ImageSource
from blitznet.data.dataset import IndexedDataset, named_files, only_image, read_names, read_text
from blitznet.data.masks import IndexMask

_MAX_LIST = 64 << 20
_MAX_CLASSES = 254
"""0 is background and 255 void"""


@dataclass(frozen=True, eq=False)
class FolderDataset(IndexedDataset):
    """Images with class maps; no boxes were annotated."""

    masks: tuple[str | None, ...]
    background: bool
    """whether mask value 0 is background; otherwise it is the first class"""

    def _mask(self, index: int, image: ImageSource) -> IndexMask | None:  # noqa: ARG002
        path = self.masks[index]
        if path is None:
            return None
        shift = 0 if self.background else 1
        return IndexMask(path, known=len(self.class_names) + 1 - shift, shift=shift)


def open_folder(root: Path, split: str | None, *, title: str) -> FolderDataset:
    """The images under `root`/images; a image without a PNG in masks/ has no mask.

    Line k of classes.txt names mask value k - 1; a first line `background` is no class but the rest. A split is
    a list splits/SPLIT.txt of names, or a folder images/SPLIT with masks/SPLIT.
    """
    lines = read_names(root / "classes.txt")
    background = lines[0].lower() == "background"
    names = lines[1:] if background else lines
    if not 0 < len(names) <= _MAX_CLASSES:
        raise DataError(f"{root / 'classes.txt'}: expected 1 to {_MAX_CLASSES} classes, got {len(names)}")
    images = _images(root, split)
    pngs = named_files(root / "masks", (".png",))
    if not pngs:
        raise DataError(f"{root / 'masks'}: expected PNG masks with the names of the images, got none")
    return FolderDataset(
        title=title,
        class_names=names,
        ids=tuple(images),
        images=tuple(str(path) for path in images.values()),
        objects=None,
        errors={},
        masks=tuple(str(pngs[name][-1]) if name in pngs else None for name in images),
        background=background,
    )


def _images(root: Path, split: str | None) -> dict[str, Path]:
    """Name relative to images/ without suffix -> file."""
    images = named_files(root / "images", SUFFIXES)
    if split is None:
        chosen = images
    elif (root / "splits" / f"{split}.txt").is_file():
        listed = read_text(root / "splits" / f"{split}.txt", limit=_MAX_LIST).splitlines()
        names = [_bare(line.strip(), images) for line in listed if line.strip()]
        chosen = {name: images.get(name, [root / "images" / f"{name}.jpg"]) for name in names}
    elif (root / "images" / split).is_dir():
        chosen = {name: files for name, files in images.items() if name.startswith(f"{split}/")}
    else:
        lists = {p.stem for p in (root / "splits").glob("*.txt")}
        folders = {p.name for p in (root / "images").glob("*") if p.is_dir()}
        there = ", ".join(sorted(lists | folders)) or "none (leave @SPLIT out)"
        raise DataError(f"{root}: there is no split '{split}'; splits here: {there}")
    if not chosen:
        raise DataError(f"{root / 'images'}: expected images ({', '.join(SUFFIXES)}), got none")
    return {name: only_image(files) for name, files in chosen.items()}


def _bare(name: str, images: Container[str]) -> str:
    """A listed name without its suffix, if that is one: the image `a.jpg.png` is listed as `a.jpg`."""
    path = Path(name)
    return path.with_suffix("").as_posix() if name not in images and path.suffix.lower() in SUFFIXES else name
