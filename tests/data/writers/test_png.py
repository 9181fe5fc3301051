"""Indexed PNGs of class maps."""

from io import BytesIO

import numpy as np
from PIL import Image

from blitznet.core.classes import palette
from blitznet.data.writers.png import indexed_png


def test_pixel_values_are_the_class_map_and_the_palette_is_vocs() -> None:
    class_map = np.asarray([[0, 1, 20], [255, 3, 0]], np.uint8)
    with Image.open(BytesIO(indexed_png(class_map))) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), class_map)
        colors = image.getpalette()
    assert colors is not None
    np.testing.assert_array_equal(np.reshape(colors, (-1, 3)), palette())
