"""Convert images from the color space of their ICC profile to sRGB, which networks and screens expect."""

from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

_MAX_PROFILE = 4 << 20
"""bytes above which a profile is ignored; those of printers have up to about 2.5 MB"""
_COLOR_SPACES = {"RGB": "RGB ", "RGBA": "RGB ", "L": "GRAY", "CMYK": "CMYK"}
"""Pillow mode -> color space of the profiles that fit it"""
_MAX_DIFFERENCE = 2
"""difference in levels from 0 to 255 up to which a profile counts as sRGB"""
_GRID = 9
"""colors per axis that a profile is compared at"""


def convert_to_srgb(image: Image.Image) -> Image.Image:
    """The image in sRGB, as RGB or RGBA; the same image if its profile is none, sRGB, or does not fit."""
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not 0 < len(profile) <= _MAX_PROFILE:
        return image
    if image.mode == "P" or (image.mode == "RGB" and "transparency" in image.info):
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    transform = _transform(profile, image.mode) if image.mode in _COLOR_SPACES else None
    return image if transform is None else transform.apply(image)


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> "ImageCmsTransform | None":
    """The transform from a profile to sRGB; None if it changes nothing, or the profile is broken or of another mode."""
    from PIL import ImageCms

    output = "RGBA" if mode == "RGBA" else "RGB"
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if source.profile.xcolor_space != _COLOR_SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, output)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return None if mode in ("RGB", "RGBA") and _is_identity(transform, mode) else transform


def _is_identity(transform: "ImageCmsTransform", mode: str) -> bool:
    axis = np.linspace(0, 255, _GRID).round().astype(np.uint8)
    colors = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(1, -1, 3)
    result = transform.apply(Image.fromarray(colors).convert(mode)).convert("RGB")
    return int(np.abs(np.asarray(result).astype(int) - colors).max()) <= _MAX_DIFFERENCE
