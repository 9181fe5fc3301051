"""Compare the images of a dataset with what its annotations state: whether they exist, and their sizes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource
from blitznet.data.dataset import IndexedDataset, declared_size, is_same_aspect

SizeProblem = Literal["resized", "turned", "other"]
"""how an image differs from its annotation: resized with the same aspect ratio, width and height swapped by its EXIF
orientation, or otherwise"""


@dataclass(slots=True)
class ImageProblems:
    """What is wrong with the images of a dataset; each entry names the image."""

    missing: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    sizes: dict[SizeProblem, list[str]] = field(default_factory=dict)


def find_image_problems(
    dataset: IndexedDataset, indices: Sequence[int], *, after_image: Callable[[], None] = lambda: None
) -> ImageProblems:
    """Read the headers of images.

    Args:
        dataset: The dataset.
        indices: The samples to check.
        after_image: Called after each image.
    """
    problems = ImageProblems()
    for index in indices:
        path = dataset.image_paths[index]
        try:
            image = dataset.image_source(index)
            size = image.size()
        except DataError as error:
            missing = isinstance(error.__cause__, FileNotFoundError)
            (problems.missing if missing else problems.unreadable).append(path if missing else str(error))
        else:
            kind = compare_size(dataset, index, image)
            if kind is not None:
                problems.sizes.setdefault(kind, []).append(size_problem(dataset, index, size))
        after_image()
    return problems


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
        DataError: Images are missing or broken, or were turned after they were annotated.
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


def size_notices(problems: ImageProblems, title: str) -> list[str]:
    """One line for each kind of size that differs and can be used."""
    texts: dict[SizeProblem, str] = {
        "resized": "images were resized after annotation; their boxes are scaled",
        "other": "images have another size than their annotation states",
    }
    return [
        f"{title}: {len(problems.sizes[kind])} {text}, the first is {problems.sizes[kind][0]}"
        for kind, text in texts.items()
        if kind in problems.sizes
    ]
