"""Tiles of the README's figure."""

from pathlib import Path

import numpy as np
from PIL import Image

from tools.readme_picture import GAP, TILE, crop, mosaic


def test_crop_fills_a_tile_without_distortion(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(np.zeros((500, 300, 3), np.uint8)).save(path)
    assert crop(path).shape == (*TILE, 3)


def test_mosaic_has_gaps_between_tiles_only() -> None:
    height, width = TILE
    tiles = [np.full((height, width, 3), value, np.uint8) for value in (1, 2, 3, 4)]
    image = mosaic(tiles)
    assert image.shape == (2 * height + GAP, 2 * width + GAP, 3)
    assert [image[0, 0, 0], image[0, -1, 0], image[-1, 0, 0], image[-1, -1, 0]] == [1, 2, 3, 4]
    assert image[height, width].tolist() == [255, 255, 255]
