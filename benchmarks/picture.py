"""The picture of the README: what the default model sees in the sample photos of the package.

`python benchmarks/picture.py` writes docs/output.jpg.
"""

from pathlib import Path

from PIL import Image

import blitznet
from blitznet.runtime.photos import find_photos
from blitznet.view.draw import annotate
from blitznet.view.sheet import contact_sheet

OUT = Path(__file__).parents[1] / "docs" / "output.jpg"
HEIGHT, SCORE = 420, 0.4


def main() -> None:
    """Predict, draw, write."""
    predictor = blitznet.load()
    tiles = []
    for path in find_photos():
        height, width = blitznet.Photo(path).size()
        image = blitznet.Photo(path).fit((HEIGHT, round(width * HEIGHT / height)))
        tiles.append((path.name, annotate(image, predictor(image, score=SCORE))))
    OUT.parent.mkdir(exist_ok=True)
    Image.fromarray(contact_sheet(tiles, len(tiles))).save(OUT, quality=88)


if __name__ == "__main__":
    main()
