"""Writer of mask folders: images/, masks/, classes.txt, and a list splits/SPLIT.txt."""

from collections.abc import Iterator
from pathlib import Path

from blitznet.core.files import atomic_write
from blitznet.core.sample import Sample
from blitznet.data.dataset import read_class_list
from blitznet.data.writers.png import indexed_png
from blitznet.data.writers.writer import copy_image, is_partial, object_outlines, require_same_classes


class FolderWriter:
    """Writes class maps only; the first line of classes.txt is `background`."""

    def __init__(self, root: Path, split: str, class_names: tuple[str, ...], *, link: bool = False) -> None:
        self.root, self.split, self.link = root, split, link
        self.folder = root
        self.lines = ("background", *class_names)
        self.ids: list[str] = []
        if (root / "classes.txt").is_file():
            require_same_classes(root / "classes.txt", read_class_list(root / "classes.txt"), self.lines)

    def unsupported(self, sample: Sample) -> Iterator[str]:
        """Boxes, and outlines of objects."""
        if sample.annotated_box_classes.any():
            yield "boxes, because a folder has class maps only"
        if is_partial(sample.annotated_mask_classes):
            yield "classes that are not annotated in an image with a mask of others"
        if any(object_outlines(sample)):
            yield "outlines of objects, because class maps do not separate objects"

    def add(self, sample: Sample, image: Path) -> None:
        """Copy the image, and write its class map."""
        copy_image(image, self, f"images/{sample.id}{image.suffix}")
        self.ids.append(sample.id)
        class_map = sample.class_map()
        if class_map is not None:
            atomic_write(self.folder / "masks" / f"{sample.id}.png", indexed_png(class_map))

    def lists(self) -> tuple[str, ...]:
        """The list of the split."""
        return (f"splits/{self.split}.txt",)

    def close(self) -> None:
        """Write the class names and the list of the split."""
        atomic_write(self.folder / "classes.txt", "".join(f"{line}\n" for line in self.lines).encode())
        lines = "".join(f"{name}\n" for name in self.ids)
        atomic_write(self.folder / self.lists()[0], lines.encode())
