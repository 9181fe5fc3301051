"""Image files in memory."""

from io import BytesIO

import numpy as np
from PIL import Image


def encode_random_image(seed: int = 0, size: tuple[int, int] = (40, 60), file_format: str = "PNG") -> bytes:
    """The bytes of an image file of random pixels; `size` is (height, width)."""
    content = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)).save(content, file_format)
    return content.getvalue()
