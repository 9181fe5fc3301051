"""Checks of annotations against what is recorded beside them: outlines, files and names."""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import Boxes
from blitznet.core.classes import canonical
from blitznet.core.image import IMAGE_SUFFIXES
from blitznet.data.dataset import IndexedDataset, is_visible
from blitznet.data.file_walk import composed
from blitznet.data.masks import MaskObject

LABEL_SUFFIXES = (".txt", ".xml", ".png")
_MASK_ENDINGS = ("_mask", "-mask", "_masks", "_seg", "_label", "_L")
_LISTS = frozenset({"classes", "labels", "labelmap", "class_names", "predefined_classes", "train", "val", "test"})
"""names of text files that are no label files"""
_MIN_OVERLAP = 0.7
"""IoU of a box with the box of its outline below which they do not describe the same object"""
_SIMILARITY = 0.85
"""ratio of difflib from which two class names may be one name, misspelled"""
_MIN_LENGTH = 5
"""shorter names, such as cat and car, are not compared"""
_MAX_NAMES = 200
_DIGITS = re.compile(r"\d")


def outline_box(item: MaskObject) -> NDArray[np.float64] | None:
    """(4,) x1 y1 x2 y2 around the polygons of an object; None without polygons."""
    if not item.polygons:
        return None
    points = np.concatenate([np.asarray(polygon, np.float64).reshape(-1, 2) for polygon in item.polygons])
    return np.concatenate([points.min(0), points.max(0)])


def is_rectangle(item: MaskObject) -> bool:
    """Whether the outline is one upright rectangle, so that it adds nothing to a box."""
    if len(item.polygons) != 1:
        return False
    points = np.asarray(item.polygons[0], np.float64).reshape(-1, 2)
    corners = np.unique(points.round(2), axis=0)
    return len(corners) == 4 and len(np.unique(corners[:, 0])) == len(np.unique(corners[:, 1])) == 2


def is_beside_outline(item: MaskObject) -> bool:
    """Whether the box of an object is not around its outline."""
    outline = outline_box(item)
    if outline is None:
        return False
    box = np.asarray(item.box, np.float64)
    inner = np.clip(np.minimum(box[2:], outline[2:]) - np.maximum(box[:2], outline[:2]), 0, None).prod()
    union = (box[2:] - box[:2]).prod() + (outline[2:] - outline[:2]).prod() - inner
    return bool(inner < _MIN_OVERLAP * union)


def are_fractions(boxes: Boxes, size: tuple[int, int]) -> bool:
    """Whether all boxes (M, 4) of an image are within its first pixel, as fractions of the image would be."""
    return bool(len(boxes) and min(size) > 2 and (boxes >= 0).all() and (boxes <= 1).all())


def labels_without_image(dataset: IndexedDataset) -> Iterator[str]:
    """Label and mask files in the dataset's folders whose image is not there."""
    folders = {Path(path).parent for path in dataset.image_paths}
    stems = {composed(Path(sample_id).name) for sample_id in dataset.ids} | _LISTS
    for folder in folders:
        stems |= {composed(path.stem) for path in _files(folder) if is_visible(path, IMAGE_SUFFIXES)}
    for folder_name in dataset.label_places:
        for path in sorted(_files(Path(folder_name))):
            stem = composed(path.stem)
            names = {stem, *(stem.removesuffix(ending) for ending in _MASK_ENDINGS)}
            if is_visible(path, LABEL_SUFFIXES) and not names & stems:
                yield str(path)


def similar_names(names: Sequence[str]) -> Iterator[str]:
    """Pairs of class names that may be one class: equal without case and spaces, or differing in a letter."""
    for first, second in combinations(names[:_MAX_NAMES], 2):
        a, b = canonical(first), canonical(second)
        same_letters = "".join(a.split()) == "".join(b.split())
        is_long = min(len(a), len(b)) >= _MIN_LENGTH and not _DIGITS.search(a + b)
        if same_letters or (is_long and SequenceMatcher(None, a, b).ratio() >= _SIMILARITY):
            yield f"{first} and {second}"


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
