"""The picture of the README: what the default model sees in the sample images of the package.

`python benchmarks/picture.py` writes docs/output.jpg.
"""

from pathlib import Path

from PIL import Image

import blitznet
from blitznet.drawing.annotate import annotate
from blitznet.drawing.contact_sheet import contact_sheet
from blitznet.runtime.image_paths import find_images

OUT = Path(__file__).parents[1] / "docs" / "output.jpg"
HEIGHT, SCORE = 420, 0.4


def main() -> None:
    """Predict, draw, write."""
    predictor = blitznet.load()
    tiles = []
    for path in find_images():
        height, width = blitznet.ImageSource(path).size()
        image = blitznet.ImageSource(path).resize((HEIGHT, round(width * HEIGHT / height)))
        tiles.append((path.name, annotate(image, predictor(image, min_score=SCORE))))
    OUT.parent.mkdir(exist_ok=True)
    Image.fromarray(contact_sheet(tiles, len(tiles))).save(OUT, quality=88)


if __name__ == "__main__":
    main()
