"""Draw the figures of the documentation: `python docs/figures.py` writes them to docs/images."""

import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT / "tests"))

from blitznet.core.arrays import IGNORE_INDEX, ClassMap, Flags
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample
from blitznet.data.pseudo import ignore_disagreements
from blitznet.drawing.annotate import annotate_sample
from blitznet.drawing.contact_sheet import contact_sheet
from support import synthetic_data

SCALE = 3
"""enlargement of the drawing"""
SIZE = (110, 150)
"""(H, W) of the drawing, pixels"""
GRAY_MAX, GRAY_BACKGROUND = 160, 70


def draw_annotations(path: Path) -> None:
    """One drawn image under six kinds of annotation."""
    full = _scene()
    no_classes = np.zeros(len(synthetic_data.NAMES), np.bool_)
    truth = full.class_map()
    assert truth is not None
    boxes = replace(full, mask=None, annotated_mask_classes=no_classes)
    mask = replace(_drop_objects(full, np.ones(len(full.labels), np.bool_)), annotated_box_classes=no_classes)
    cross = synthetic_data.NAMES.index("cross")
    partial = _drop_objects(full, full.labels != cross)
    partial = replace(partial, mask=_mask(np.where(truth == cross + 1, truth, np.uint8(0))))
    crowd = full.labels == full.labels[-1]
    ignored = replace(full, crowd=crowd, mask=_mask(_ignore_boxes(full, truth, crowd)))
    pseudo = replace(full, mask=_mask(ignore_disagreements(_teacher_class_map(truth), full)))
    cases = {
        "1 boxes only": boxes,
        "2 a mask only": mask,
        "3 both": full,
        "4 only crosses annotated": partial,
        "5 a crowd, and ignored pixels": ignored,
        "6 a pseudo-mask": pseudo,
    }
    tiles = [(title, annotate_sample(sample, synthetic_data.NAMES)) for title, sample in cases.items()]
    Image.fromarray(contact_sheet(tiles, 2)).quantize(128).save(path, optimize=True)


def draw_new_classes(path: Path) -> None:
    """One drawn image: what the labels of the data say, what the initial model says, and what is learned of both."""
    full, square = _scene(), synthetic_data.NAMES.index("square")
    truth = full.class_map()
    assert truth is not None
    is_new = full.labels == square
    labeled = replace(_drop_objects(full, ~is_new), mask=_mask(np.where(truth == square + 1, truth, np.uint8(0))))
    unknown = replace(labeled, mask=_mask(np.where(truth == square + 1, truth, np.uint8(IGNORE_INDEX))))
    old = replace(_drop_objects(full, is_new), mask=_mask(np.where(truth == square + 1, np.uint8(0), truth)))
    cases = {
        "1 the labels of the data: squares": labeled,
        "2 hatched: background or an old class": unknown,
        "3 the initial model: crosses and ells": old,
        "4 what the new model learns: all of them": full,
    }
    tiles = [(title, annotate_sample(sample, synthetic_data.NAMES)) for title, sample in cases.items()]
    Image.fromarray(contact_sheet(tiles, 2)).quantize(128).save(path, optimize=True)


def _scene() -> Sample:
    """A drawing with one shape of each class and a second one of some class, enlarged and gray."""
    shapes = next(
        drawing
        for seed in range(5000)
        for drawing in synthetic_data.draw(2, size=SIZE, seed=seed)
        if len(drawing.labels) == 4 and {*drawing.labels.tolist()} == {0, 1, 2} and _is_separated(drawing)
    )
    brightness = shapes.image.mean(-1, keepdims=True).clip(0, GRAY_MAX)
    gray = np.where((shapes.class_map > 0)[..., None], brightness, GRAY_BACKGROUND).repeat(3, -1).astype(np.uint8)
    image, class_map = (np.repeat(np.repeat(pixels, SCALE, 0), SCALE, 1) for pixels in (gray, shapes.class_map))
    return replace(
        shapes.sample, image=ImageSource(image), boxes=shapes.boxes * np.float32(SCALE), mask=_mask(class_map)
    )


def _mask(class_map: ClassMap) -> synthetic_data.ArrayMask:
    return synthetic_data.ArrayMask(class_map)


def _is_separated(drawing: synthetic_data.Drawing) -> bool:
    """Whether no shape covers another, and all are at least 28 pixels wide."""
    widths = drawing.boxes[:, 2] - drawing.boxes[:, 0]
    return int(drawing.instance_masks.sum(0).max()) == 1 and bool((widths >= 28).all())


def _drop_objects(sample: Sample, dropped: Flags) -> Sample:
    keep = ~dropped
    return replace(
        sample,
        boxes=sample.boxes[keep],
        labels=sample.labels[keep],
        difficult=sample.difficult[keep],
        crowd=sample.crowd[keep],
    )


def _ignore_boxes(sample: Sample, truth: ClassMap, selected: Flags) -> ClassMap:
    """The class map with the selected boxes ignored."""
    class_map = truth.copy()
    for x1, y1, x2, y2 in sample.boxes[selected].round().astype(int):
        class_map[y1:y2, x1:x2] = IGNORE_INDEX
    return class_map


def _teacher_class_map(truth: ClassMap) -> ClassMap:
    """The prediction of a mediocre teacher: shifted to the right, with one false positive."""
    class_map = np.roll(truth, 3 * SCALE, 1)
    corner = class_map[-14 * SCALE :, : 16 * SCALE]
    corner[corner == 0] = 1
    return class_map


CAPTIONS = {
    "cli": "one module per command",
    "workflows": "commands as functions",
    "bulk": "millions of images to Parquet",
    "serve": "HTTP server, web page",
    "paper": "tables of the paper",
    "pipelines": "stages of the packaged models",
    "train": "recipes, matching, losses",
    "export": "files for other runtimes",
    "report": "HTML, Markdown, model cards",
    "api": "names to engines",
    "bench": "timing and comparison of models",
    "data": "files to samples",
    "metrics": "results to scores",
    "runtime": "images to results",
    "nets": "torch modules, files",
    "video": "videos, cameras",
    "integrations": "other tools",
    "postprocess": "raw outputs to Result: decode, NMS, class map, instances",
    "drawing": "boxes and class maps on images",
    "core": "values, geometry, names, errors",
    "weights": "models and sample images, no code",
}
TORCH = {"train", "export", "nets", "paper", "pipelines"}
"""packages that need torch"""
STYLE = (
    "rect{fill:#eef2f7;stroke:#5b6b80}.torch{fill:#fdeee0;stroke:#b0703a}.ground{fill:#fff;stroke:none}"
    "text{fill:#1b2430;text-anchor:middle}.name{font-size:17px;font-weight:600}.caption{font-size:11.5px}"
    ".note{font-size:12.5px;text-anchor:start}"
)


def layers() -> list[list[str]]:
    """Packages by layer, the highest first, as import-linter checks them."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    lines = next(rule["layers"] for rule in rules if rule["type"] == "layers")
    return [[package.strip() for package in line.split("|")] for line in lines]


def architecture_svg() -> str:
    """The layers as an SVG that is readable on light and dark pages."""
    width, row_height, gap = 980, 64, 14
    rows = [*layers(), ["weights"]]
    height = len(rows) * (row_height + gap) + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" font-family="sans-serif">',
        "<title>The packages of blitznet by layer</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="ground" width="{width}" height="{height}" rx="8"/>',
    ]
    for row, packages in enumerate(rows):
        column_width = (width - gap) / len(packages)
        for column, package in enumerate(packages):
            x, y = gap + column * column_width, gap + row * (row_height + gap)
            css_class = ' class="torch"' if package in TORCH else ""
            middle = x + (column_width - gap) / 2
            parts += [
                f'<rect{css_class} x="{x:.1f}" y="{y}" width="{column_width - gap:.1f}" height="{row_height}" rx="6"/>',
                f'<text class="name" x="{middle:.1f}" y="{y + 28}">{package}</text>',
                f'<text class="caption" x="{middle:.1f}" y="{y + 48}">{CAPTIONS[package]}</text>',
            ]
    note = "A package may import those below it, never those beside it. Orange: needs torch."
    parts += [f'<text class="note" x="{gap}" y="{height - 14}">{note}</text>', "</svg>"]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    images = DOCS / "images"
    draw_annotations(images / "annotations.png")
    draw_new_classes(images / "add-classes.png")
    (images / "architecture.svg").write_text(architecture_svg())
