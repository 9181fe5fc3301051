"""Detections as CVAT's XML for images (1.1), to upload as annotations of a task with the same images."""

from collections.abc import Iterable
from xml.etree import ElementTree

from blitznet.core.rle import run_lengths
from blitznet.postprocess.instances import Mask
from blitznet.postprocess.result import Result


def to_cvat_xml(results: Iterable[tuple[str, Result]], *, masks: bool = False) -> str:
    """The whole file, of images' names and what is in them; with `masks` the pixels of each detection."""
    return cvat_page(cvat_image(number, name, result, masks=masks) for number, (name, result) in enumerate(results))


def cvat_image(number: int, name: str, result: Result, *, masks: bool = False) -> ElementTree.Element:
    """One image of the file; `number` counts them from 0. For who would not keep all results till the end."""
    height, width = (str(side) for side in result.size)
    image = ElementTree.Element("image", id=str(number), name=name, width=width, height=height)
    found = result.instances() if masks and len(result) and result.class_map is not None else None
    for index in range(len(result)):
        common = {"label": result.class_names[result.labels[index]], "source": "auto", "occluded": "0", "z_order": "0"}
        if found is not None and found.crop_masks[index].any():
            rows, columns = found.crops[index]
            place = {"left": columns.start, "top": rows.start}
            size = {"width": columns.stop - columns.start, "height": rows.stop - rows.start}
            told = {key: str(value) for key, value in {**place, **size}.items()}
            ElementTree.SubElement(image, "mask", {**common, "rle": runs(found.crop_masks[index]), **told})
        else:
            corners = zip(("xtl", "ytl", "xbr", "ybr"), result.boxes[index], strict=True)
            sides = {key: f"{value:.2f}" for key, value in corners}
            ElementTree.SubElement(image, "box", {**common, **sides})
    return image


def cvat_page(images: Iterable[ElementTree.Element]) -> str:
    """The whole file, of its images."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    root.extend(images)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def runs(part: Mask) -> str:
    """Lengths of runs row by row, of pixels that are not the thing's and that are in turn; the first may be 0."""
    inside, lengths = run_lengths(part)
    first = [0] if inside[0] else []
    return ", ".join(str(length) for length in (*first, *lengths.tolist()))
