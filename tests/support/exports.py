"""Synthetic images in the layouts that labeling tools and sites export."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from support import synthetic_data
from support.synthetic_data import NAMES, Drawing


def write_darknet(root: Path, drawings: Sequence[Drawing]) -> None:
    """CVAT's YOLO 1.1: paths begin with a folder `data` that is not there."""
    synthetic_data.write_yolo(root / "yolo", drawings, outlines=False)
    folder = root / "obj_train_data"
    folder.mkdir(parents=True)
    for source in ("images", "labels"):
        for path in sorted((root / "yolo" / source / "train").iterdir()):
            path.rename(folder / path.name)
    for path in sorted((root / "yolo").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (root / "yolo").rmdir()
    (root / "obj.names").write_text("".join(f"{name}\n" for name in NAMES))
    lines = ["classes = 3", "train = data/train.txt", "names = data/obj.names", "backup = backup/"]
    (root / "obj.data").write_text("\n".join(lines) + "\n")
    (root / "train.txt").write_text("".join(f"data/obj_train_data/{d.id}.png\n" for d in drawings))


COLORS = np.asarray([[0, 0, 0], [250, 50, 83], [61, 61, 245], [255, 204, 51]], np.uint8)
"""a color for background and for each class"""


def write_roboflow_masks(root: Path, drawings: Sequence[Drawing]) -> None:
    """Roboflow's semantic segmentation masks."""
    for drawing in drawings:
        synthetic_data.write_image(root / "train" / f"{drawing.id}.png", drawing)
        Image.fromarray(drawing.class_map).save(root / "train" / f"{drawing.id}_mask.png")
    lines = ["Pixel Value, Class", " 0, background", *(f" {k}, {name}" for k, name in enumerate(NAMES, 1))]
    (root / "train" / "_classes.csv").write_text("\n".join(lines) + "\n")


def write_color_masks(root: Path, drawings: Sequence[Drawing]) -> None:
    """Images, masks of colors and the table of colors that is common on Kaggle."""
    for drawing in drawings:
        synthetic_data.write_image(root / "images" / f"{drawing.id}.png", drawing)
        (root / "masks").mkdir(parents=True, exist_ok=True)
        Image.fromarray(COLORS[drawing.class_map]).save(root / "masks" / f"{drawing.id}.png")
    rows = zip(("background", *NAMES), COLORS.tolist(), strict=True)
    (root / "class_dict.csv").write_text("name,r,g,b\n" + "".join(f"{n},{r},{g},{b}\n" for n, (r, g, b) in rows))


def write_cvat_masks(root: Path, drawings: Sequence[Drawing]) -> None:
    """CVAT's Segmentation mask 1.1 with images."""
    for drawing in drawings:
        synthetic_data.write_image(root / "JPEGImages" / f"{drawing.id}.png", drawing)
        for folder in ("SegmentationClass", "SegmentationObject"):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(COLORS[drawing.class_map]).save(root / folder / f"{drawing.id}.png")
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "default.txt").write_text("".join(f"{d.id}\n" for d in drawings))
    rows = zip(("background", *NAMES), COLORS.tolist(), strict=True)
    lines = ["# label:color_rgb:parts:actions", *(f"{n}:{r},{g},{b}::" for n, (r, g, b) in rows)]
    (root / "labelmap.txt").write_text("\n".join(lines) + "\n")
