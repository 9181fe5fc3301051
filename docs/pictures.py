"""The drawn pictures of these pages: `python docs/pictures.py` writes annotations.png and architecture.svg here."""

import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "tests"))  # for the drawn set, which is imported after it

import toy

from blitznet.core.arrays import VOID
from blitznet.core.image import Photo
from blitznet.core.sample import Sample
from blitznet.data.pseudo import agreed
from blitznet.drawing.annotate import annotate_sample
from blitznet.drawing.contact_sheet import contact_sheet

TIMES = 3
"""how much larger than drawn"""
SIZE = (110, 150)
"""(H, W) as drawn"""


def annotations(path: Path) -> None:
    """One drawn photo under six kinds of annotation."""
    whole = _scene()
    none = np.zeros(len(toy.NAMES), np.bool_)
    truth = whole.class_map()
    assert truth is not None
    boxes = replace(whole, mask=None, mask_classes=none)
    mask = _without(whole, np.ones(len(whole.labels), np.bool_))
    mask = replace(mask, box_classes=none)
    cross = toy.NAMES.index("cross")
    partial = _without(whole, whole.labels != cross)
    partial = replace(partial, mask=toy.ArrayMask(np.where(truth == cross + 1, truth, np.uint8(0))))
    crowd = whole.labels == whole.labels[-1]
    void = replace(whole, crowd=crowd, mask=toy.ArrayMask(_voided(whole, truth, crowd)))
    painted = replace(whole, mask=toy.ArrayMask(agreed(_teacher(truth), whole)))
    cases = {
        "1 boxes only": boxes,
        "2 a mask only": mask,
        "3 both": whole,
        "4 only crosses annotated": partial,
        "5 a crowd, and void": void,
        "6 painted by a teacher": painted,
    }
    tiles = [(title, annotate_sample(sample, toy.NAMES)) for title, sample in cases.items()]
    Pillow.fromarray(contact_sheet(tiles, 2)).quantize(128).save(path, optimize=True)


def _scene() -> Sample:
    """A drawing with one shape of each class and a second of one, enlarged."""
    shapes = next(
        one
        for seed in range(5000)
        for one in toy.draw(2, size=SIZE, seed=seed)
        if len(one.labels) == 4 and {*one.labels.tolist()} == {0, 1, 2} and _apart(one)
    )
    # grey and flat, so that colours are the truth's and the file is small
    grey = np.where((shapes.class_map > 0)[..., None], shapes.image.mean(-1, keepdims=True).clip(0, 160), 70)
    grey = grey.repeat(3, -1).astype(np.uint8)
    image, class_map = (np.repeat(np.repeat(a, TIMES, 0), TIMES, 1) for a in (grey, shapes.class_map))
    return replace(
        shapes.sample, photo=Photo(image), boxes=shapes.boxes * np.float32(TIMES), mask=toy.ArrayMask(class_map)
    )


def _apart(drawing: toy.Drawing) -> bool:
    """Whether no shape covers another, and none is tiny."""
    return int(drawing.pieces.sum(0).max()) == 1 and bool((drawing.boxes[:, 2] - drawing.boxes[:, 0] >= 28).all())


def _without(sample: Sample, left_out: np.ndarray) -> Sample:
    keep = ~left_out
    return replace(
        sample,
        boxes=sample.boxes[keep],
        labels=sample.labels[keep],
        difficult=sample.difficult[keep],
        crowd=sample.crowd[keep],
    )


def _voided(sample: Sample, truth: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """The class map with the crowds' boxes void."""
    truth = truth.copy()
    for x1, y1, x2, y2 in sample.boxes[crowd].round().astype(int):
        truth[y1:y2, x1:x2] = VOID
    return truth


def _teacher(truth: np.ndarray) -> np.ndarray:
    """What a middling teacher might paint: all a little to the right, and a thing where nothing is."""
    seen = np.roll(truth, 3 * TIMES, 1)
    seen[-14 * TIMES :, : 16 * TIMES][seen[-14 * TIMES :, : 16 * TIMES] == 0] = 1
    return seen


ABOUT = {
    "cli": "one thin file a command",
    "serve": "the server and its page",
    "train": "recipes, matching, losses, the loop",
    "export": "one file, and the proof",
    "api": "a name becomes an engine",
    "data": "files to samples",
    "metrics": "results to scores",
    "runtime": "photo to result",
    "view": "values to pictures",
    "nets": "torch modules, files",
    "media": "videos, cameras",
    "bridges": "other tools",
    "core": "values, geometry, names, errors: known by all",
    "weights": "no code: models and sample photos",
}
"""what a room is for, in a few words"""
TORCH = {"train", "export", "nets"}
"""the rooms that need torch"""


def layers() -> list[list[str]]:
    """Rooms, the highest first, as import-linter holds them."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    found = next(rule["layers"] for rule in rules if rule["type"] == "layers")
    return [[room.strip() for room in line.split("|")] for line in found]


def architecture() -> str:
    """The rooms as an SVG that is readable on light and dark pages."""
    width, high, gap = 980, 64, 14
    lines = [*layers(), ["weights"]]
    tall = len(lines) * (high + gap) + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {tall}" role="img" font-family="sans-serif">',
        "<title>The rooms of blitznet</title>",
        "<style>rect{fill:#eef2f7;stroke:#5b6b80}.torch{fill:#fdeee0;stroke:#b0703a}.ground{fill:#fff}"
        "text{fill:#1b2430;text-anchor:middle}.name{font-size:17px;font-weight:600}.about{font-size:11.5px}"
        ".note{font-size:12.5px;text-anchor:start}</style>",
        f'<rect class="ground" width="{width}" height="{tall}" rx="8" style="stroke:none"/>',
    ]
    for row, rooms in enumerate(lines):
        each = (width - gap) / len(rooms)
        for place, room in enumerate(rooms):
            x, y, wide = gap + place * each, gap + row * (high + gap), each - gap
            kind = ' class="torch"' if room in TORCH else ""
            middle = x + wide / 2
            parts += [
                f'<rect{kind} x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{high}" rx="6"/>',
                f'<text class="name" x="{middle:.1f}" y="{y + 28}">{room}</text>',
                f'<text class="about" x="{middle:.1f}" y="{y + 48}">{ABOUT[room]}</text>',
            ]
    note = "Each room may import what lies below it, never what lies beside it. Orange: needs torch."
    parts += [f'<text class="note" x="{gap}" y="{tall - 14}">{note}</text>', "</svg>"]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    annotations(HERE / "annotations.png")
    (HERE / "architecture.svg").write_text(architecture())
