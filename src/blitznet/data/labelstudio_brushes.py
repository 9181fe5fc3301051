"""Brush masks that Label Studio exports as PNG: a file for each task, annotation, class and region."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from blitznet.core.errors import DataError
from blitznet.core.image import opened_mask
from blitznet.data.annotation_files import require_name
from blitznet.data.records import ObjectRecord, crop_box, crop_outline

_FILE_NAME = re.compile(
    r"task-(?P<task>\d+)-annotation-(?P<annotation>\d+)-by-[^-]*-[^-]+-(?P<label>.+)-(?P<number>\d+)"
)
"""the task, the annotation, the person, the name of the control, the class, and a number"""


class BrushFile(NamedTuple):
    """The mask of one region."""

    annotation: int
    """id of the annotation"""
    number: int
    """its position among the annotation's regions"""
    label: str
    """class name, in which a slash is a hyphen"""
    path: Path


def find_brush_files(folder: Path) -> dict[str, list[BrushFile]]:
    """Id of each task with PNG files in a folder or its folders -> the files of its first annotation, in order."""
    files: dict[str, list[BrushFile]] = defaultdict(list)
    for path in sorted([*folder.glob("task-*.png"), *folder.glob("*/task-*.png")]):
        match = _FILE_NAME.fullmatch(path.stem)
        if match:
            file = BrushFile(int(match["annotation"]), int(match["number"]), match["label"], path)
            files[match["task"]].append(file)
    return {
        task: [file for file in sorted(items) if file.annotation == min(items).annotation]
        for task, items in files.items()
    }


def read_brush_files(files: Sequence[BrushFile]) -> tuple[tuple[int, int], tuple[ObjectRecord, ...]]:
    """The objects of one task; a mask without a pixel is left out.

    Args:
        files: One or more files of the task.

    Returns:
        (H, W) of the image, and the objects.

    Raises:
        DataError: A file is no gray image, or the files differ in size.
    """
    objects, sizes = [], set()
    for file in files:
        with opened_mask(file.path, name=str(file.path)) as image:
            if image.mode not in ("L", "1", "P"):
                raise DataError(f"{file.path}: expected a mask of gray values, got mode {image.mode}")
            pixels = np.asarray(image) > 0
        sizes.add(pixels.shape)
        if len(sizes) > 1:
            raise DataError(f"{file.path}: expected masks of one size for a task, got several")
        box = crop_box(pixels, (0, 0))
        if box is not None:
            size = (pixels.shape[0], pixels.shape[1])
            outline = crop_outline(pixels, (0, 0), size, name=str(file.path))
            objects.append(ObjectRecord(require_name(file.label, str(file.path)), box, outline))
    height, width = sizes.pop()
    return (height, width), tuple(objects)
