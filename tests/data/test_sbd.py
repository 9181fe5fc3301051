"""The reader of the Semantic Boundaries Dataset."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from blitznet.core import classes
from blitznet.core.errors import DataError, MissingExtra
from blitznet.data.sbd import open_sbd
from support import synthetic_data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "dataset"
    for name in ("cls", "inst", "img"):
        (folder / name).mkdir(parents=True)
    drawings = synthetic_data.draw(3)
    (folder / "train.txt").write_text("".join(f"{d.id}\n" for d in drawings))
    for d in drawings:
        synthetic_data.write_image(folder / "img" / f"{d.id}.jpg", d)
        savemat(folder / "cls" / f"{d.id}.mat", {"GTcls": {"Segmentation": d.class_map}})
    instances = np.zeros((96, 120), np.uint16)
    instances[10:20, 30:50] = 1
    instances[0:5, 0:7] = 2
    record = {"Segmentation": instances, "Categories": np.asarray([[15], [1]])}
    savemat(folder / "inst" / f"{drawings[0].id}.mat", {"GTinst": record})
    return tmp_path


def test_masks_and_boxes_of_instances(root: Path) -> None:
    dataset = open_sbd(root, "train", title="t")
    assert dataset.class_names == classes.VOC
    for k, drawing in enumerate(synthetic_data.draw(3)):
        np.testing.assert_array_equal(dataset[k].class_map(), drawing.class_map)
    assert dataset[0].boxes.tolist() == [[30, 10, 50, 20], [0, 0, 7, 5]]
    assert dataset[0].labels.tolist() == [14, 0]
    assert dataset[0].annotated_box_classes.all()
    assert not dataset[1].annotated_box_classes.any()


def test_broken_and_missing_files_are_refused(root: Path) -> None:
    folder = root / "dataset"
    (folder / "cls" / "toy_0001.mat").write_bytes(b"no mat")
    (folder / "cls" / "toy_0002.mat").unlink()
    savemat(folder / "cls" / "toy_0000.mat", {"GTcls": {"Segmentation": np.full((2, 2), 21)}})
    dataset = open_sbd(root, "train", title="t")
    with pytest.raises(DataError, match="expected mask values up to 20, got 21"):
        dataset[0].class_map()
    with pytest.raises(DataError, match=r"toy_0001\.mat: expected SBD's GTcls record"):
        dataset[1].class_map()
    with pytest.raises(DataError, match=r"toy_0002\.mat: expected a mask, got a path that does not exist"):
        dataset[2]
    with pytest.raises(DataError, match="there is no split 'val'; splits here: train; write sbd:"):
        open_sbd(root, "val", title="t")


def test_missing_scipy_names_the_extra(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(MissingExtra, match=r"needs `pip install 'blitznet\[sbd\]'`"):
        open_sbd(root, "train", title="t")[1].class_map()
