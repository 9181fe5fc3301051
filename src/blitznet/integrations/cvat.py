"""Results as "CVAT for images 1.1" XML, which CVAT imports as annotations of a task with the same images."""

import re
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree

from blitznet.core.rle import run_lengths
from blitznet.postprocess.instances import Mask
from blitznet.postprocess.result import Result

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""characters that XML cannot contain, such as the bytes of a file name that is not UTF-8"""


def to_cvat_xml(results: Iterable[tuple[str, Result]], *, masks: bool = False) -> str:
    """The XML file of several images.

    Args:
        results: File name and result of each image.
        masks: Whether to write instance masks instead of boxes.
    """
    images = []
    class_names: dict[str, None] = {}
    for image_id, (name, result) in enumerate(results):
        images.append(to_cvat_image(image_id, name, result, masks=masks))
        class_names |= dict.fromkeys(result.class_names)
    return assemble_cvat_xml(images, tuple(class_names))


def to_cvat_image(image_id: int, name: str, result: Result, *, masks: bool = False) -> ElementTree.Element:
    """The element of one image, for `assemble_cvat_xml`; it needs less memory than the result.

    Args:
        image_id: Index of the image in the file, from 0.
        name: The image's file name.
        result: Detections.
        masks: Whether to write instance masks instead of boxes.
    """
    height, width = (str(length) for length in result.size)
    image = ElementTree.Element("image", id=str(image_id), name=_xml_text(name), width=width, height=height)
    instances = result.instances() if masks and len(result) and result.class_map is not None else None
    for index in range(len(result)):
        common = {
            "label": _xml_text(result.class_names[result.labels[index]]),
            "source": "auto",
            "occluded": "0",
            "z_order": "0",
        }
        if instances is not None and instances.crop_masks[index].any():
            rows, columns = instances.crops[index]
            rle = to_cvat_rle(instances.crop_masks[index])
            crop = {
                "left": str(columns.start),
                "top": str(rows.start),
                "width": str(columns.stop - columns.start),
                "height": str(rows.stop - rows.start),
            }
            ElementTree.SubElement(image, "mask", {**common, "rle": rle, **crop})
        else:
            corners = zip(("xtl", "ytl", "xbr", "ybr"), result.boxes[index], strict=True)
            box = {name: f"{coordinate:.2f}" for name, coordinate in corners}
            ElementTree.SubElement(image, "box", {**common, **box})
    return image


def assemble_cvat_xml(images: Iterable[ElementTree.Element], class_names: Sequence[str] = ()) -> str:
    """The XML file of the images' elements.

    Args:
        images: Elements of `to_cvat_image`.
        class_names: The labels of the task, in `meta`, without which other readers refuse the file.
    """
    elements = list(images)
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    ElementTree.SubElement(task, "name").text = "blitznet"
    ElementTree.SubElement(task, "size").text = str(len(elements))
    ElementTree.SubElement(task, "mode").text = "annotation"
    labels = ElementTree.SubElement(task, "labels")
    for name in class_names:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = _xml_text(name)
        ElementTree.SubElement(label, "type").text = "any"
        ElementTree.SubElement(label, "attributes")
    root.extend(elements)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _xml_text(text: str) -> str:
    """The text with a replacement character for each character that XML cannot contain."""
    return _NOT_XML.sub("\ufffd", text)


def to_cvat_rle(mask: Mask) -> str:
    """CVAT's run lengths of a mask (H, W), row by row: background and object in turn; the first may be 0."""
    values, lengths = run_lengths(mask)
    empty_background = [0] if values[0] else []
    return ", ".join(str(length) for length in (*empty_background, *lengths.tolist()))
