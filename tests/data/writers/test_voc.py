"""The Pascal VOC writer."""

from pathlib import Path

import numpy as np

from blitznet.data.convert import convert_dataset, count_unsupported
from blitznet.data.writers.voc import VocWriter
from support import synthetic_data
from support.conversions import CROWD, open_text, samples, write_annotations


def test_voc_to_voc_keeps_boxes_and_class_maps(tmp_path: Path) -> None:
    synthetic_data.write_voc(tmp_path / "a", synthetic_data.draw(4, seed=3))
    before = open_text(f"voc:{tmp_path / 'a'}@train")
    assert not convert_dataset(before, "voc", tmp_path / "b", "train")
    for old, new in zip(samples(before), samples(open_text(f"voc:{tmp_path / 'b'}@train")), strict=True):
        np.testing.assert_array_equal(old.class_map(), new.class_map())
        np.testing.assert_array_equal(old.boxes, new.boxes)
        np.testing.assert_array_equal(old.difficult, new.difficult)


def test_coco_outlines_become_class_maps(tmp_path: Path) -> None:
    synthetic_data.write_coco(tmp_path / "a", synthetic_data.draw(3, seed=5))
    before = open_text(f"coco:{tmp_path / 'a'}@train")
    lost = convert_dataset(before, "voc", tmp_path / "b", "val", lossy=True)
    assert [*lost] == ["outlines of objects, because class maps do not separate objects"]
    for old, new in zip(samples(before), samples(open_text(f"voc:{tmp_path / 'b'}@val")), strict=True):
        np.testing.assert_array_equal(old.class_map(), new.class_map())
        np.testing.assert_allclose(old.boxes, new.boxes, atol=1e-4)


def test_crowds_are_unsupported(tmp_path: Path) -> None:
    dataset = write_annotations(tmp_path / "a", [[CROWD], []])
    unsupported = count_unsupported(dataset, VocWriter(tmp_path / "b", "train", dataset.class_names))
    assert "crowds, because VOC has only their ignored pixels" in unsupported
