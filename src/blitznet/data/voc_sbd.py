"""The paper's training set with masks, from the official downloads of VOC2012 and SBD beside each other.

The 10,582 images are those with a mask in VOC2012 or SBD, without VOC2012's images for evaluation. The authors ship
them as the list `SegmentationAug/train` and the folder `SegmentationClassAug`; a devkit without these has both as soon
as SBD lies beside it.
"""

from pathlib import Path

from blitznet.core.errors import DataError
from blitznet.data.dataset import read_text

AUG_SPLIT = "SegmentationAug/train"
"""list of the images"""
AUG_MASKS = "SegmentationClassAug"
"""folder of the masks"""
SBD_ADVICE = "put SBD's folder benchmark_RELEASE beside the folder VOCdevkit"
_SBD_FOLDERS = ("benchmark_RELEASE/dataset", "benchmark_RELEASE", "SBD/dataset", "SBD", "sbd/dataset", "sbd")
"""where the archive is unpacked, below the folder of the devkit or of the folder VOCdevkit"""
_MAX_LIST = 64 << 20


def find_sbd(devkit: Path) -> Path | None:
    """The folder of SBD's `cls`, `train.txt` and `val.txt` near a devkit such as VOCdevkit/VOC2012; None without."""
    folder = devkit.resolve()
    candidates = (base / name for base in (folder.parent.parent, folder.parent) for name in _SBD_FOLDERS)
    return next((path for path in candidates if (path / "cls").is_dir() and (path / "train.txt").is_file()), None)


def augmented_ids(devkit: Path, sbd: Path) -> tuple[str, ...]:
    """The ids of `SegmentationAug/train`, sorted: SBD's and VOC's with a mask, without Segmentation/val.

    Raises:
        DataError: A list is missing.
    """
    lists = devkit / "ImageSets" / "Segmentation"
    listed = _ids(sbd / "train.txt") | _ids(sbd / "val.txt") | _ids(lists / "train.txt")
    return tuple(sorted(listed - _ids(lists / "val.txt")))


def sbd_masks(sbd: Path) -> dict[str, str]:
    """Image id -> path of SBD's class map, a .mat file."""
    return {path.stem: str(path) for path in sorted((sbd / "cls").glob("*.mat"))}


def _ids(path: Path) -> set[str]:
    if not path.is_file():
        raise DataError(f"{path}: expected a list of images, got a path that does not exist")
    return set(read_text(path, limit=_MAX_LIST).split())
