"""From an image in any form to the network's input."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from blitznet.core.arrays import RGBArray
from blitznet.core.image import ImageSource
from blitznet.core.spec import Spec

ImageInput = str | Path | bytes | RGBArray | Image.Image | ImageSource
"""a path, the bytes of a file, an (H, W, 3) uint8 RGB array, a Pillow image, or an ImageSource"""


@dataclass(frozen=True, slots=True, eq=False)
class ImageTile:
    """A part of an image at the network's input size, for sliced inference."""

    pixels: RGBArray
    """(h, w, 3) uint8 RGB"""
    box: tuple[float, float, float, float]
    """x1 y1 x2 y2 of the part, pixels of the image"""


@dataclass(frozen=True, slots=True, eq=False)
class ModelInput:
    """One image at the network's input size."""

    pixels: RGBArray
    """(h, w, 3) uint8 RGB"""
    original_size: tuple[int, int]
    """(H, W) of the upright original, pixels"""
    image: ImageSource | None = None
    """the original, for `Result.image`"""
    tiles: tuple[ImageTile, ...] = ()
    """tiles for sliced inference; empty otherwise"""


def as_image_source(image: ImageInput) -> ImageSource:
    """Wrap an image; an ImageSource is returned as it is."""
    return image if isinstance(image, ImageSource) else ImageSource(image)


def preprocess(image: ImageInput, spec: Spec) -> ModelInput:
    """Resize an image to the spec's input size; the aspect ratio is not kept.

    Raises:
        DataError: The image cannot be read.
    """
    image_source = as_image_source(image)
    size = image_source.size()
    return ModelInput(image_source.resize(spec.size), size, image_source)


def preprocess_batch(images: Sequence[ImageSource], spec: Spec) -> RGBArray:
    """Resize images to one batch (B, h, w, 3) uint8 RGB. Raises DataError if one cannot be read."""
    return np.stack([image.resize(spec.size) for image in images])
