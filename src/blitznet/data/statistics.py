"""Class occurrence of a dataset, for repeat-factor sampling."""

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import IGNORE_INDEX, Flags
from blitznet.core.sample import Dataset, Sample


def class_occurrence(dataset: Dataset) -> NDArray[np.bool_]:
    """Which classes each image contains.

    Classes come from the boxes, without decoding; the mask is read only if no boxes are annotated.

    Returns:
        (N, K) one row per sample.
    """
    rows = [_image_classes(dataset[index], len(dataset.class_names)) for index in range(len(dataset))]
    return np.asarray(rows, np.bool_).reshape(len(dataset), len(dataset.class_names))


def _image_classes(sample: Sample, num_classes: int) -> Flags:
    """(K,) which classes one image contains; crowds do not count."""
    occurs = np.zeros(num_classes, np.bool_)
    if sample.annotated_box_classes.any() or sample.mask is None:
        occurs[sample.labels[~sample.crowd]] = True
        return occurs
    counts = np.bincount(sample.mask.read().ravel(), minlength=IGNORE_INDEX + 1)
    return np.asarray(counts[1 : num_classes + 1] > 0, np.bool_)
