"""A folder: images/, masks/, classes.txt, and a list splits/SPLIT.txt."""

from collections.abc import Iterator
from pathlib import Path

from blitznet.core.files import atomic_write
from blitznet.core.sample import Sample
from blitznet.data.dataset import read_names
from blitznet.data.writers.masks import indexed_png
from blitznet.data.writers.writer import place_image, require_same_names, shapes


class FolderWriter:
    """Class maps alone; the first line of classes.txt is background."""

    def __init__(self, root: Path, split: str, names: tuple[str, ...], *, link: bool = False) -> None:
        self.root, self.split, self.link = root, split, link
        self.lines = ("background", *names)
        self.ids: list[str] = []
        if (root / "classes.txt").is_file():
            require_same_names(root / "classes.txt", read_names(root / "classes.txt"), self.lines)

    def losses(self, sample: Sample) -> Iterator[str]:
        """Boxes, and which pixels are which object's."""
        if sample.annotated_box_classes.any():
            yield "boxes: a folder has class maps only"
        if any(shapes(sample)):
            yield "outlines: class maps are painted, which do not say which pixels are which object's"

    def add(self, sample: Sample, image: Path) -> None:
        """The image and its class map."""
        place_image(image, self.root / "images" / f"{sample.id}{image.suffix}", link=self.link)
        self.ids.append(sample.id)
        painted = sample.class_map()
        if painted is not None:
            atomic_write(self.root / "masks" / f"{sample.id}.png", indexed_png(painted))

    def close(self) -> None:
        """The names, and the split's list."""
        atomic_write(self.root / "classes.txt", "".join(f"{line}\n" for line in self.lines).encode())
        lines = "".join(f"{name}\n" for name in self.ids)
        atomic_write(self.root / "splits" / f"{self.split}.txt", lines.encode())
