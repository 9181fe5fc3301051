"""Draw the figure of docs/how-to/add-classes.md: what labels and the initial model say about one drawn image.

`python tools/keep_picture.py` writes docs/images/add-classes.png.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from blitznet.core.arrays import IGNORE_INDEX
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample
from blitznet.drawing.annotate import annotate_sample
from blitznet.drawing.contact_sheet import contact_sheet
from support import synthetic_data

OUT = ROOT / "docs" / "images" / "add-classes.png"
SIZE, SCALE = (110, 150), 3
"""(H, W) of the drawing, pixels, and its enlargement"""
BACKGROUND, SHAPES = 70, 150
NEW = synthetic_data.NAMES.index("square")
"""the class that the data annotates; the initial model knows the others"""


def main() -> None:
    """Draw and write."""
    full = scene()
    labeled = keep_classes(full, (NEW,))
    tiles = {
        "1 the labels of the data: squares": labeled,
        "2 hatched: background or an old class": with_unknown(labeled),
        "3 the initial model: crosses and ells": keep_classes(full, (0, 1)),
        "4 what the new model learns: all of them": full,
    }
    sheet = contact_sheet([(title, annotate_sample(s, synthetic_data.NAMES)) for title, s in tiles.items()], 2)
    Image.fromarray(sheet).quantize(128).save(OUT, optimize=True)


def scene() -> Sample:
    """A gray drawing with one shape of each class and a second one of some class, enlarged."""
    shapes = next(
        drawing
        for seed in range(5000)
        for drawing in synthetic_data.draw(2, size=SIZE, seed=seed)
        if len(drawing.labels) == 4 and {*drawing.labels.tolist()} == {0, 1, 2} and is_separated(drawing)
    )
    gray = np.where(shapes.class_map > 0, SHAPES, BACKGROUND).astype(np.uint8)[..., None].repeat(3, -1)
    image, class_map = (np.repeat(np.repeat(pixels, SCALE, 0), SCALE, 1) for pixels in (gray, shapes.class_map))
    mask = synthetic_data.ArrayMask(class_map)
    return replace(shapes.sample, image=ImageSource(image), boxes=shapes.boxes * np.float32(SCALE), mask=mask)


def is_separated(drawing: synthetic_data.Drawing) -> bool:
    """Whether no shape covers another, and all are at least 28 pixels wide."""
    widths = drawing.boxes[:, 2] - drawing.boxes[:, 0]
    return int(drawing.instance_masks.sum(0).max()) == 1 and bool((widths >= 28).all())


def keep_classes(sample: Sample, labels: tuple[int, ...]) -> Sample:
    """The sample with the annotations of some classes only."""
    keep, class_map = np.isin(sample.labels, labels), sample.class_map()
    assert class_map is not None
    known = np.isin(class_map, [label + 1 for label in labels])
    return replace(
        sample,
        boxes=sample.boxes[keep],
        labels=sample.labels[keep],
        difficult=sample.difficult[keep],
        crowd=sample.crowd[keep],
        mask=synthetic_data.ArrayMask(np.where(known, class_map, np.uint8(0))),
    )


def with_unknown(sample: Sample) -> Sample:
    """The sample with all its background ignored, which is drawn hatched."""
    class_map = sample.class_map()
    assert class_map is not None
    unknown = np.where(class_map == 0, np.uint8(IGNORE_INDEX), class_map)
    return replace(sample, mask=synthetic_data.ArrayMask(unknown))


if __name__ == "__main__":
    main()
