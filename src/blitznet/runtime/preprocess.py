"""What a caller has in hand, made a Image, and a Image made the network's input."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from blitznet.core.arrays import RGBArray
from blitznet.core.image import ImageSource
from blitznet.core.spec import Spec

ImageInput = str | Path | bytes | RGBArray | Pillow.Image | ImageSource
"""a file's path or bytes, (H, W, 3) uint8 RGB, a Pillow image, or a Image"""


@dataclass(frozen=True, slots=True, eq=False)
class ModelInput:
    """One image as the network is fed it."""

    pixels: RGBArray
    """(h, w, 3) uint8 RGB"""
    original_size: tuple[int, int]
    """(H, W) of the upright original"""


def as_image_source(image: ImageInput) -> ImageSource:
    """The image as a Image; a Image stays what it is."""
    return image if isinstance(image, ImageSource) else ImageSource(image)


def preprocess_batch(images: Sequence[ImageSource], spec: Spec) -> RGBArray:
    """(B, h, w, 3) uint8 RGB: every image at the contract's size, aspect ratio ignored (reference 2)."""
    return np.stack([image.resize(spec.size) for image in images])


def preprocess(image: ImageInput, spec: Spec) -> ModelInput:
    """The image at the contract's size, and its own. Raises DataError if it cannot be read."""
    image_source = as_image_source(image)
    return ModelInput(original_size=image_source.size(), pixels=image_source.resize(spec.size))
