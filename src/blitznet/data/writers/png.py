"""Class maps as indexed PNGs with VOC's palette."""

from io import BytesIO

from PIL import Image

from blitznet.core.arrays import ClassMap
from blitznet.core.classes import palette


def indexed_png(class_map: ClassMap) -> bytes:
    """Encode a class map (H, W) as a palette PNG: 0 background, label + 1, 255 ignored."""
    image, content = Image.fromarray(class_map, "P"), BytesIO()
    image.putpalette(palette().tobytes())
    image.save(content, "PNG")
    return content.getvalue()
