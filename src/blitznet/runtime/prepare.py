"""What a caller has in hand, made a Photo, and a Photo made the network's input."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from blitznet.core.arrays import Image
from blitznet.core.photo import Photo
from blitznet.core.spec import Spec

AnyImage = str | Path | bytes | Image | Pillow.Image | Photo
"""a file's path or bytes, (H, W, 3) uint8 RGB, a Pillow image, or a Photo"""


@dataclass(frozen=True, slots=True, eq=False)
class Fed:
    """One photo as the network is fed it."""

    pixels: Image
    """(h, w, 3) uint8 RGB"""
    size: tuple[int, int]
    """(H, W) of the upright original"""


def as_photo(image: AnyImage) -> Photo:
    """The image as a Photo; a Photo stays what it is."""
    return image if isinstance(image, Photo) else Photo(image)


def prepare(photos: Sequence[Photo], spec: Spec) -> Image:
    """(B, h, w, 3) uint8 RGB: every photo at the contract's size, aspect ratio ignored (reference 2)."""
    return np.stack([photo.fit(spec.size) for photo in photos])


def feed(image: AnyImage, spec: Spec) -> Fed:
    """The image at the contract's size, and its own. Raises DataError if it cannot be read."""
    photo = as_photo(image)
    return Fed(size=photo.size(), pixels=photo.fit(spec.size))
