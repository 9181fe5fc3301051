"""The writer of mask folders."""

from pathlib import Path

import numpy as np

from blitznet.data.convert import convert_dataset, count_unsupported
from blitznet.data.writers.folder import FolderWriter
from support import synthetic_data
from support.conversions import DIFFICULT, open_text, samples, write_annotations

BOXES = "boxes, because a folder has class maps only"


def test_class_maps_are_unchanged(tmp_path: Path) -> None:
    synthetic_data.write_voc(tmp_path / "a", synthetic_data.draw(4, seed=3))
    before = open_text(f"voc:{tmp_path / 'a'}@train")
    assert list(convert_dataset(before, "folder", tmp_path / "b", "train", lossy=True)) == [BOXES]
    for old, new in zip(samples(before), samples(open_text(f"folder:{tmp_path / 'b'}@train")), strict=True):
        np.testing.assert_array_equal(old.class_map(), new.class_map())


def test_boxes_are_unsupported(tmp_path: Path) -> None:
    dataset = write_annotations(tmp_path / "a", [[DIFFICULT], []])
    unsupported = count_unsupported(dataset, FolderWriter(tmp_path / "b", "train", dataset.class_names))
    assert unsupported == {BOXES: 2}
