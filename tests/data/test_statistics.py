"""How often each class occurs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from blitznet.data.sources import open_dataset, parse_source
from blitznet.data.statistics import class_presence, count_classes
from support import synthetic_data

WRITERS: dict[str, Callable[[Path, list[synthetic_data.Drawing]], str]] = {
    "voc": synthetic_data.write_voc,
    "coco": synthetic_data.write_coco,
    "folder": synthetic_data.write_folder,
}


@pytest.mark.parametrize("form", WRITERS)
def test_presence_is_what_was_drawn(form: str, tmp_path: Path) -> None:
    drawings = synthetic_data.draw(6)
    dataset = open_dataset(parse_source(WRITERS[form](tmp_path, drawings)))
    expected = np.asarray([[k in d.labels for k in range(3)] for d in drawings])
    if form == "folder":  # a shape that others cover is in no mask
        expected = np.asarray([[(d.class_map == k + 1).any() for k in range(3)] for d in drawings])
    np.testing.assert_array_equal(class_presence(dataset), expected)
    counts = count_classes(dataset)
    np.testing.assert_array_equal(counts.images, expected.sum(0))
    objects = np.bincount(np.concatenate([d.labels for d in drawings]), minlength=3)
    np.testing.assert_array_equal(counts.objects, 0 if form == "folder" else objects)
