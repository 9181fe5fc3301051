"""The paper's 10,582 images from VOC2012 and SBD as they are downloaded."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blitznet.core.errors import DataError
from blitznet.data.sources import open_dataset, parse_source
from blitznet.data.voc_sbd import augmented_ids, find_sbd
from support.synthetic_data import write_mask

savemat = pytest.importorskip("scipy.io").savemat
AUG = "@SegmentationAug/train,masks=SegmentationClass+SegmentationClassAug"


def write_downloads(root: Path, *, folder: str = "benchmark_RELEASE/dataset") -> Path:
    """Six images: a, b in VOC's lists of masks; b, c, d in SBD; e for evaluation, in SBD, too; f without a mask."""
    devkit = root / "VOCdevkit" / "VOC2012"
    for name in ("Annotations", "JPEGImages", "SegmentationClass", "ImageSets/Segmentation", "ImageSets/Main"):
        (devkit / name).mkdir(parents=True)
    for name in "abcdef":
        Image.new("RGB", (8, 6)).save(devkit / "JPEGImages" / f"{name}.jpg")
        box = "<xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax>"
        (devkit / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><object><name>cat</name><bndbox>{box}</bndbox></object></annotation>"
        )
    for name in "abe":
        write_mask(devkit / "SegmentationClass" / f"{name}.png", np.full((6, 8), 8, np.uint8))
    (devkit / "ImageSets/Segmentation/train.txt").write_text("a\nb\n")
    (devkit / "ImageSets/Segmentation/val.txt").write_text("e\n")
    (devkit / "ImageSets/Main/trainval.txt").write_text("".join(f"{name}\n" for name in "abcdef"))
    sbd = root / folder
    (sbd / "cls").mkdir(parents=True)
    (sbd / "train.txt").write_text("b\nc\n")
    (sbd / "val.txt").write_text("d\ne\n")
    for name in "bcde":
        content = {"GTcls": {"Segmentation": np.full((6, 8), 12, np.uint8)}}
        savemat(sbd / "cls" / f"{name}.mat", content)
    return devkit


@pytest.mark.parametrize("folder", ["benchmark_RELEASE/dataset", "SBD", "VOCdevkit/sbd"])
def test_list_and_masks_come_from_both_downloads(tmp_path: Path, folder: str) -> None:
    devkit = write_downloads(tmp_path, folder=folder)
    dataset = open_dataset(parse_source(f"voc:{devkit}{AUG}"))
    assert dataset.ids == ("a", "b", "c", "d")
    values = {}
    for index in range(4):
        class_map = dataset[index].class_map()
        assert class_map is not None
        values[dataset.ids[index]] = int(class_map[0, 0])
    assert values == {"a": 8, "b": 8, "c": 12, "d": 12}, "VOC's mask wins"
    assert all(len(dataset[index].labels) == 1 for index in range(4))


def test_own_list_and_folder_win(tmp_path: Path) -> None:
    devkit = write_downloads(tmp_path)
    (devkit / "ImageSets/SegmentationAug").mkdir()
    (devkit / "ImageSets/SegmentationAug/train.txt").write_text("c\n")
    write_mask(devkit / "SegmentationClassAug" / "c.png", np.full((6, 8), 3, np.uint8))
    dataset = open_dataset(parse_source(f"voc:{devkit}{AUG}"))
    assert dataset.ids == ("c",)
    class_map = dataset[0].class_map()
    assert class_map is not None
    assert class_map[0, 0] == 3


def test_without_sbd_the_message_names_its_place(tmp_path: Path) -> None:
    devkit = write_downloads(tmp_path, folder="elsewhere")
    assert find_sbd(devkit) is None
    for text in (f"voc:{devkit}@SegmentationAug/train", f"voc:{devkit}@trainval,masks=SegmentationClassAug"):
        with pytest.raises(DataError, match="put SBD's folder benchmark_RELEASE beside the folder VOCdevkit"):
            open_dataset(parse_source(text))
    (tmp_path / "elsewhere" / "val.txt").unlink()
    with pytest.raises(DataError, match=r"val\.txt: expected a list of images, got a path that does not exist"):
        augmented_ids(devkit, tmp_path / "elsewhere")
