"""Draw the figure of the README: boxes and class maps of the default model on four images.

`python tools/readme_picture.py` writes docs/images/output.jpg. The images are the samples of the package and
docs/images/sources, cropped to 3:2; docs/CREDITS.md names their authors and licenses.
"""

from pathlib import Path

import numpy as np
from PIL import Image

import blitznet
from blitznet.drawing.annotate import annotate
from blitznet.runtime.image_paths import find_images

IMAGES = Path(__file__).parents[1] / "docs" / "images"
OUT = IMAGES / "output.jpg"
TILE = (360, 540)
"""(H, W) of each tile, pixels"""
COLUMNS, GAP, MIN_SCORE, QUALITY = 2, 6, 0.5, 88
TOPS = {"photographer": 0.25, "astronaut": 0.0}
"""share of the height to crop that is cut at the top; half of it if not named"""


def main() -> None:
    """Predict, draw and write."""
    predictor = blitznet.load()
    paths = sorted([*find_images(), *(IMAGES / "sources").glob("*.jpg")], key=lambda path: path.stem)
    tiles = []
    for path in paths:
        image = crop(path)
        tiles.append(annotate(image, predictor(image, min_score=MIN_SCORE)))
    Image.fromarray(mosaic(tiles)).save(OUT, quality=QUALITY)


def crop(path: Path) -> np.ndarray:
    """The image (H, W, 3) cropped to the aspect ratio of a tile and resized to it."""
    image = Image.open(path).convert("RGB")
    height, width = TILE
    keep = min(image.height, round(image.width * height / width))
    top = round((image.height - keep) * TOPS.get(path.stem, 0.5))
    return np.asarray(image.crop((0, top, image.width, top + keep)).resize((width, height), Image.Resampling.LANCZOS))


def mosaic(tiles: list[np.ndarray]) -> np.ndarray:
    """Tiles in rows, with white gaps between them."""
    height, width = TILE
    rows = -(-len(tiles) // COLUMNS)
    canvas = np.full((rows * (height + GAP) - GAP, COLUMNS * (width + GAP) - GAP, 3), 255, np.uint8)
    for index, tile in enumerate(tiles):
        top, left = index // COLUMNS * (height + GAP), index % COLUMNS * (width + GAP)
        canvas[top : top + height, left : left + width] = tile
    return canvas


if __name__ == "__main__":
    main()
