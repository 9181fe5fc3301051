"""How often each class occurs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import toy
from blitznet.data.sources import open_dataset, parse_source
from blitznet.data.statistics import class_presence, count_classes

WRITERS: dict[str, Callable[[Path, list[toy.Drawing]], str]] = {
    "voc": toy.write_voc,
    "coco": toy.write_coco,
    "folder": toy.write_folder,
}


@pytest.mark.parametrize("form", WRITERS)
def test_presence_is_what_was_drawn(form: str, tmp_path: Path) -> None:
    drawings = toy.draw(6)
    dataset = open_dataset(parse_source(WRITERS[form](tmp_path, drawings)))
    wanted = np.asarray([[k in d.labels for k in range(3)] for d in drawings])
    if form == "folder":  # a shape that others cover is in no mask
        wanted = np.asarray([[(d.class_map == k + 1).any() for k in range(3)] for d in drawings])
    np.testing.assert_array_equal(class_presence(dataset), wanted)
    counts = count_classes(dataset)
    np.testing.assert_array_equal(counts.images, wanted.sum(0))
    objects = np.bincount(np.concatenate([d.labels for d in drawings]), minlength=3)
    np.testing.assert_array_equal(counts.objects, 0 if form == "folder" else objects)
