"""Writer of Pascal VOC devkits: JPEGImages, Annotations/*.xml, SegmentationClass/*.png, lists and classes.txt."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from blitznet.core.files import atomic_write
from blitznet.core.sample import Sample
from blitznet.data.dataset import read_class_list
from blitznet.data.writers.png import indexed_png
from blitznet.data.writers.writer import copy_image, flat_name, is_partial, object_outlines, require_same_classes


class VocWriter:
    """Writes 1-based boxes that include their last pixel, and class maps."""

    def __init__(self, root: Path, split: str, class_names: tuple[str, ...], *, link: bool = False) -> None:
        self.root, self.split, self.class_names, self.link = root, split, class_names, link
        self.folder = root
        self.ids: list[str] = []
        self.ids_with_mask: list[str] = []
        if (root / "classes.txt").is_file():
            require_same_classes(root / "classes.txt", read_class_list(root / "classes.txt"), class_names)

    def unsupported(self, sample: Sample) -> Iterator[str]:
        """Outlines of objects, and crowds."""
        if any(object_outlines(sample)):
            yield "outlines of objects, because class maps do not separate objects"
        if is_partial(sample.annotated_box_classes) or is_partial(sample.annotated_mask_classes):
            yield "classes that are not annotated in an image with annotations of others"
        if sample.crowd.any():
            yield "crowds, because VOC has only their ignored pixels"

    def add(self, sample: Sample, image: Path) -> None:
        """Copy the image, and write its XML and class map."""
        name = flat_name(sample.id)
        copy_image(image, self, f"JPEGImages/{name}{image.suffix}")
        self.ids.append(name)
        if sample.annotated_box_classes.any():
            atomic_write(self.folder / "Annotations" / f"{name}.xml", self._xml(sample, f"{name}{image.suffix}"))
        class_map = sample.class_map()
        if class_map is not None:
            self.ids_with_mask.append(name)
            atomic_write(self.folder / "SegmentationClass" / f"{name}.png", indexed_png(class_map))

    def lists(self) -> tuple[str, ...]:
        """The lists of the split."""
        return tuple(f"ImageSets/{folder}/{self.split}.txt" for folder in ("Main", "Segmentation"))

    def close(self) -> None:
        """Write the lists and the class names."""
        atomic_write(self.folder / "classes.txt", "".join(f"{name}\n" for name in self.class_names).encode())
        for folder, ids in (("Main", self.ids), ("Segmentation", self.ids_with_mask)):
            if ids:
                lines = "".join(f"{name}\n" for name in ids)
                atomic_write(self.folder / "ImageSets" / folder / f"{self.split}.txt", lines.encode())

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
                _texts(node, name=self.class_names[label], difficult=str(int(difficult)))
                x1, y1, x2, y2 = box
                corners = {"xmin": x1 + 1, "ymin": y1 + 1, "xmax": x2, "ymax": y2}
                _texts(SubElement(node, "bndbox"), **{tag: f"{value:.17g}" for tag, value in corners.items()})
        indent(root)
        text: bytes = tostring(root)
        return text


def _texts(parent: Element, **texts: str) -> None:
    for tag, text in texts.items():
        SubElement(parent, tag).text = text
