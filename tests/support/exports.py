"""Synthetic images in the layouts that labeling tools and sites export."""

from collections.abc import Sequence
from pathlib import Path

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
