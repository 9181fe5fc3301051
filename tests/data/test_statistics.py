"""Class occurrence."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from blitznet.data.sources import open_dataset, parse_source
from blitznet.data.statistics import class_occurrence
from support import synthetic_data

WRITERS: dict[str, Callable[[Path, list[synthetic_data.Drawing]], str]] = {
    "voc": synthetic_data.write_voc,
    "coco": synthetic_data.write_coco,
    "folder": synthetic_data.write_folder,
}


@pytest.mark.parametrize("dataset_format", WRITERS)
def test_class_occurrence_matches_the_drawings(dataset_format: str, tmp_path: Path) -> None:
    drawings = synthetic_data.draw(6)
    dataset = open_dataset(parse_source(WRITERS[dataset_format](tmp_path, drawings)))
    expected = np.asarray([[k in d.labels for k in range(3)] for d in drawings])
    if dataset_format == "folder":  # a fully occluded shape is not in the mask
        expected = np.asarray([[(d.class_map == k + 1).any() for k in range(3)] for d in drawings])
    np.testing.assert_array_equal(class_occurrence(dataset), expected)
