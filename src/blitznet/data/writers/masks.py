"""Class maps as PNGs whose values are classes, in VOC's colours."""

from io import BytesIO

from PIL import Image as Pillow

from blitznet.core.arrays import ClassMap
from blitznet.core.classes import palette


def indexed_png(class_map: ClassMap) -> bytes:
    """A palette PNG of (H, W): 0 background, label + 1, 255 void."""
    picture, content = Pillow.fromarray(class_map, "P"), BytesIO()
    picture.putpalette(palette().tobytes())
    picture.save(content, "PNG")
    return content.getvalue()
