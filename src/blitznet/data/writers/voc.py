"""Pascal VOC devkit: JPEGImages, Annotations/*.xml, SegmentationClass/*.png, lists and classes.txt."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from blitznet.core.files import atomic_write
from blitznet.core.sample import Sample
from blitznet.data.dataset import read_names
from blitznet.data.writers.masks import indexed_png
from blitznet.data.writers.writer import flat, place_image, require_same_names, shapes


class VocWriter:
    """Boxes counted from 1, the last pixel inside; class maps painted."""

    def __init__(self, root: Path, split: str, names: tuple[str, ...], *, link: bool = False) -> None:
        self.root, self.split, self.names, self.link = root, split, names, link
        self.ids: list[str] = []
        self.masked: list[str] = []
        if (root / "classes.txt").is_file():
            require_same_names(root / "classes.txt", read_names(root / "classes.txt"), names)

    def losses(self, sample: Sample) -> Iterator[str]:
        """Which pixels are which object's, and that a region is a crowd."""
        if any(shapes(sample)):
            yield "outlines: class maps are painted, which do not say which pixels are which object's"
        if sample.crowd.any():
            yield "crowds: they are void in class maps, and no objects"

    def add(self, sample: Sample, image: Path) -> None:
        """The image, its XML, its class map."""
        name = flat(sample.id)
        place_image(image, self.root / "JPEGImages" / f"{name}{image.suffix}", link=self.link)
        self.ids.append(name)
        if sample.annotated_box_classes.any():
            atomic_write(self.root / "Annotations" / f"{name}.xml", self._xml(sample, f"{name}{image.suffix}"))
        painted = sample.class_map()
        if painted is not None:
            self.masked.append(name)
            atomic_write(self.root / "SegmentationClass" / f"{name}.png", indexed_png(painted))

    def close(self) -> None:
        """The lists, and the names that mask values count."""
        atomic_write(self.root / "classes.txt", "".join(f"{name}\n" for name in self.names).encode())
        for folder, ids in (("Main", self.ids), ("Segmentation", self.masked)):
            if ids:
                lines = "".join(f"{name}\n" for name in ids)
                atomic_write(self.root / "ImageSets" / folder / f"{self.split}.txt", lines.encode())

    def _xml(self, sample: Sample, file_name: str) -> bytes:
        root, (height, width) = Element("annotation"), sample.image.size()
        _texts(root, folder=self.root.name, filename=file_name)
        _texts(SubElement(root, "size"), width=str(width), height=str(height), depth="3")
        _texts(root, segmented=str(int(sample.mask is not None)))
        for box, label, difficult, crowd in zip(
            sample.boxes.tolist(), sample.labels, sample.difficult, sample.crowd, strict=True
        ):
            if not crowd:
                node = SubElement(root, "object")
                _texts(node, name=self.names[label], difficult=str(int(difficult)))
                x1, y1, x2, y2 = box
                places = {"xmin": x1 + 1, "ymin": y1 + 1, "xmax": x2, "ymax": y2}
                _texts(SubElement(node, "bndbox"), **{side: f"{value:.17g}" for side, value in places.items()})
        indent(root)
        text: bytes = tostring(root)
        return text


def _texts(parent: Element, **texts: str) -> None:
    for tag, text in texts.items():
        SubElement(parent, tag).text = text
