"""Class occurrence."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blitznet.data.sources import open_dataset, parse_source
from blitznet.data.statistics import class_occurrence
from support import synthetic_data
from support.metric_cases import MemoryDataset

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


def test_crowds_and_their_classes_do_not_occur() -> None:
    (drawing,) = synthetic_data.draw(1, seed=3)
    sample = drawing.sample
    assert len({*sample.labels.tolist()}) > 1
    is_first = sample.labels == sample.labels[0]
    dataset = MemoryDataset("crowds", (replace(sample, crowd=is_first),))
    expected = [k in sample.labels and k != sample.labels[0] for k in range(3)]
    assert class_occurrence(dataset).tolist() == [expected]
