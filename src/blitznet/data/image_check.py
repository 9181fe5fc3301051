"""Compare the images of a dataset with its annotations: whether they exist, their sizes, their boxes and masks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource, opened_mask
from blitznet.core.sample import Sample
from blitznet.data.color_masks import ColorMask
from blitznet.data.dataset import IndexedDataset, declared_size, is_same_aspect
from blitznet.data.masks import IndexMask, RasterizedMask

SizeProblem = Literal["resized", "turned", "other"]
"""how an image differs from its annotation: resized with the same aspect ratio, width and height swapped by its EXIF
orientation, or otherwise"""


@dataclass(slots=True)
class ImageProblems:
    """What is wrong with the images of a dataset; each entry names the image."""

    missing: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    sizes: dict[SizeProblem, list[str]] = field(default_factory=dict)
    masks: list[str] = field(default_factory=list)
    """masks that cannot be drawn, or have another size than their image"""
    boxes: list[str] = field(default_factory=list)
    """boxes without an area, or with their center outside of the image: training cannot use them"""
    num_boxes: int = 0


def find_image_problems(
    dataset: IndexedDataset, indices: Sequence[int], *, after_image: Callable[[], None] = lambda: None
) -> ImageProblems:
    """Read the headers of images and masks, and compare boxes with them.

    Args:
        dataset: The dataset.
        indices: The samples to check.
        after_image: Called after each image.
    """
    problems = ImageProblems()
    for index in indices:
        path = dataset.image_paths[index]
        try:
            sample = dataset[index]
            image = sample.image
            size = image.size()
        except DataError as error:
            missing = isinstance(error.__cause__, FileNotFoundError)
            (problems.missing if missing else problems.unreadable).append(path if missing else str(error))
        else:
            problems.masks += _mask_problems(sample, size)
            problems.boxes += _unusable_boxes(sample, dataset.class_names, size)
            problems.num_boxes += len(sample.boxes)
            kind = compare_size(dataset, index, image)
            if kind is not None:
                problems.sizes.setdefault(kind, []).append(size_problem(dataset, index, size))
        after_image()
    return problems


def _mask_problems(sample: Sample, size: tuple[int, int]) -> list[str]:
    """What is wrong with a mask, from its header or its outlines; nothing is drawn."""
    mask = sample.mask
    try:
        if isinstance(mask, RasterizedMask):
            mask.require_valid()
            mask_size = mask.size
        elif isinstance(mask, IndexMask | ColorMask):
            with opened_mask(mask.path, name=mask.path) as image:
                mask_size = image.size[::-1]
        else:
            return []
    except DataError as error:
        return [str(error)]
    if mask_size == size:
        return []
    return [
        f"{sample.id}: expected a mask of the image's {size[1]}x{size[0]} pixels, got {mask_size[1]}x{mask_size[0]}; "
        "make them the same size"
    ]


def _unusable_boxes(sample: Sample, class_names: Sequence[str], size: tuple[int, int]) -> list[str]:
    """Boxes without an area, or with their center outside of an image of `size` (H, W)."""
    boxes = sample.boxes
    centers, limits = (boxes[:, :2] + boxes[:, 2:]) / 2, np.asarray(size[::-1])
    usable = (boxes[:, 2:] > boxes[:, :2]).all(-1) & (centers >= 0).all(-1) & (centers <= limits).all(-1)
    return [
        f"{sample.id}: {class_names[label] if label >= 0 else 'ignored'} {box.round(1).tolist()} in {size[1]}x{size[0]}"
        for box, label in zip(boxes[~usable].astype(np.float64), sample.labels[~usable], strict=True)
    ]


def compare_size(dataset: IndexedDataset, index: int, image: ImageSource) -> SizeProblem | None:
    """How an image differs from the size that its annotation states; None if it does not, or none is stated.

    Raises:
        DataError: The image cannot be read.
    """
    declared, actual = declared_size(dataset, index), image.size()
    if declared is None or declared == actual:
        return None
    if actual == declared[::-1] and image.is_turned():
        return "turned"
    return "resized" if is_same_aspect(declared, actual) else "other"


def size_problem(dataset: IndexedDataset, index: int, size: tuple[int, int]) -> str:
    """The image and both sizes (height, width), as text."""
    declared = declared_size(dataset, index) or (0, 0)
    return f"{dataset.ids[index]}: {size[1]}x{size[0]}, annotated at {declared[1]}x{declared[0]}"


def require_images(problems: ImageProblems, title: str, num_images: int) -> None:
    """Refuse a dataset with images that cannot be used, before training.

    Raises:
        DataError: Images or masks are missing or broken, images were turned after they were annotated, or no box is
            inside its image.
    """
    if problems.missing:
        raise DataError(
            f"{title}: expected {num_images} images, got {len(problems.missing)} paths that do not exist, the first is "
            f"{problems.missing[0]}; add the files, or leave them out with the option missing=skip"
        )
    if problems.unreadable:
        more = f" (and {len(problems.unreadable) - 1} more)" if len(problems.unreadable) > 1 else ""
        raise DataError(f"{problems.unreadable[0]}{more}; `blitznet data check` lists all")
    turned = problems.sizes.get("turned", [])
    if turned:
        raise DataError(
            f"{title}: {turned[0]}: the EXIF orientation turns the image, but its annotation does not"
            + (f" (and {len(turned) - 1} more images)" if len(turned) > 1 else "")
            + "; annotate upright images, or remove the EXIF orientation"
        )
    if problems.masks:
        more = f" (and {len(problems.masks) - 1} more masks)" if len(problems.masks) > 1 else ""
        raise DataError(f"{title}: {problems.masks[0]}{more}; `blitznet data check` lists all")
    if problems.boxes and len(problems.boxes) == problems.num_boxes:
        raise DataError(
            f"{title}: expected boxes inside their images, got {problems.num_boxes} that are empty or outside, the "
            f"first is {problems.boxes[0]}; are pixels and fractions confused?"
        )


def size_notices(problems: ImageProblems, title: str) -> list[str]:
    """One line for each kind of size that differs and can be used, and one for boxes that cannot be used."""
    texts: dict[SizeProblem, str] = {
        "resized": "images were resized after annotation; their boxes are scaled",
        "other": "images have another size than their annotation states",
    }
    lines = [
        f"{title}: {len(problems.sizes[kind])} {text}, the first is {problems.sizes[kind][0]}"
        for kind, text in texts.items()
        if kind in problems.sizes
    ]
    if problems.boxes:
        lines.append(
            f"{title}: {len(problems.boxes)} of {problems.num_boxes} boxes are empty or outside of their image and are "
            f"left out; the first is {problems.boxes[0]}"
        )
    return lines
