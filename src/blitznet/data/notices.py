"""What a user should know about an opened dataset before it is used, one line each."""

from collections import Counter
from collections.abc import Sequence

from blitznet.core.image import IMAGE_SUFFIXES
from blitznet.data.annotation_check import labels_without_image
from blitznet.data.dataset import IndexedDataset


def dataset_notices(dataset: IndexedDataset) -> list[str]:
    """Lines about images without a label, files that were left out, and images that are listed several times."""
    title = dataset.title
    lines = [f"{title}: {_counted(kind, items)}" for kind, items in dataset.remarks.items()]
    unmatched = list(labels_without_image(dataset))
    if unmatched:
        lines.append(f"{title}: {_counted('label files without an image, left out', unmatched)}")
    shared = shared_images(dataset)
    if shared:
        lines.append(f"{title}: {_counted('images listed several times, with annotations of their own', shared)}")
    return lines + _unlabeled_lines(dataset)


def shared_images(dataset: IndexedDataset) -> list[str]:
    """Image files that several samples have; a data file with many images inside is none."""
    counts = Counter(path for path in dataset.image_paths if path.lower().endswith(IMAGE_SUFFIXES))
    return [path for path, count in counts.items() if count > 1]


def _unlabeled_lines(dataset: IndexedDataset) -> list[str]:
    lines = []
    if dataset.unlabeled:
        lines.append(
            f"{dataset.title}: {len(dataset.unlabeled)} of {len(dataset)} images have no label and are left out; "
            "unlabelled=empty takes them as images without objects"
        )
    if dataset.assumed_empty:
        lines.append(
            f"{dataset.title}: {len(dataset.assumed_empty)} of {len(dataset)} images have no label and count as images "
            "without objects; unlabelled=skip leaves them out"
        )
    return lines


def _counted(kind: str, items: Sequence[str]) -> str:
    return f"{len(items)} {kind}; the first is {items[0]}"
