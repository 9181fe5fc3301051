"""SBD, the Semantic Boundaries Dataset: img/ID.jpg, cls/ID.mat, inst/ID.mat and SPLIT.txt."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from blitznet.core import classes
from blitznet.core.arrays import IGNORE_INDEX, ClassMap
from blitznet.core.errors import DataError, MissingExtra
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample
from blitznet.data.dataset import Annotation, IndexedDataset, Objects, read_text
from blitznet.data.masks import UnknownValueError

_MAX_MAT = 16 << 20
_MAX_LIST = 64 << 20


@dataclass(frozen=True, slots=True)
class MatMask:
    """The class map in a file of `cls`."""

    path: str

    def read(self) -> ClassMap:
        """(H, W) uint8."""
        values = np.asarray(_load(Path(self.path), "GTcls").Segmentation)
        unknown = (values > len(classes.VOC)) & (values != IGNORE_INDEX)
        if unknown.any():
            raise UnknownValueError(f"{self.path}: expected mask values up to 20, got {values[unknown][0]}")
        return values.astype(np.uint8)


@dataclass(frozen=True, eq=False)
class SbdDataset(IndexedDataset):
    """A split of SBD; the .mat files are read when a sample is asked for."""

    masks: tuple[str | None, ...]
    instances: tuple[str | None, ...]

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        path = self.instances[range(len(self))[index]]
        if path is None:
            return sample
        objects = Objects.pack([read_instances(Path(path))])
        return replace(
            sample,
            boxes=objects.boxes,
            labels=objects.labels,
            difficult=objects.difficult,
            crowd=objects.crowd,
            annotated_box_classes=np.ones(len(self.class_names), np.bool_),
        )

    def _mask(self, index: int, image: ImageSource) -> MatMask | None:  # noqa: ARG002
        path = self.masks[index]
        return None if path is None else MatMask(path)


def open_sbd(root: Path, split: str | None, *, title: str) -> SbdDataset:
    """A split of SBD under `root` (or `root`/dataset); boxes from the instances where inst/ID.mat is there."""
    home = root / "dataset" if (root / "dataset").is_dir() else root
    path = home / f"{split}.txt"
    if split is None or not path.is_file():
        there = ", ".join(sorted(p.stem for p in home.glob("*.txt"))) or "none"
        expected = f"there is no split '{split}'" if split else "expected a split"
        raise DataError(f"{home}: {expected}; splits here: {there}; write sbd:{root}@SPLIT")
    ids = tuple(dict.fromkeys(read_text(path, limit=_MAX_LIST).split()))
    masks = {p.stem for p in (home / "cls").glob("*.mat")}
    instances = {p.stem for p in (home / "inst").glob("*.mat")}
    return SbdDataset(
        title=title,
        class_names=classes.VOC,
        ids=ids,
        images=tuple(str(home / "img" / f"{name}.jpg") for name in ids),
        objects=None,
        errors={
            k: DataError(f"{home / 'cls' / name}.mat: there is no such mask")
            for k, name in enumerate(ids)
            if name not in masks
        },
        masks=tuple(str(home / "cls" / f"{name}.mat") if name in masks else None for name in ids),
        instances=tuple(str(home / "inst" / f"{name}.mat") if name in instances else None for name in ids),
    )


def read_instances(path: Path) -> list[Annotation]:
    """The tight box of every instance in a file of `inst`, with its class."""
    truth = _load(path, "GTinst")
    pixels = np.asarray(truth.Segmentation)
    rows = []
    for number, category in enumerate(np.atleast_1d(truth.Categories), 1):
        if not 1 <= int(category) <= len(classes.VOC):
            raise DataError(f"{path}: instance {number} has category {category}, expected 1 to {len(classes.VOC)}")
        y, x = np.nonzero(pixels == number)
        if len(x):
            rows.append(Annotation((x.min(), y.min(), x.max() + 1, y.max() + 1), int(category) - 1))
    return rows


def _load(path: Path, key: str) -> Any:
    """The record under `key` of a .mat file."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise MissingExtra("reading SBD's .mat files", "sbd") from error
    try:
        if path.stat().st_size > _MAX_MAT:
            raise DataError(f"{path}: more than {_MAX_MAT:,} bytes, which no file of SBD has")
        record = loadmat(path, squeeze_me=True, struct_as_record=False, variable_names=[key])[key]
        expected = (record.Segmentation, *((record.Categories,) if key == "GTinst" else ()))
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except DataError:
        raise
    except Exception as error:  # scipy raises many kinds over a broken file
        raise DataError(f"{path}: expected SBD's {key} record; the file is broken or another one") from error
    if np.asarray(expected[0]).ndim != 2:
        raise DataError(f"{path}: expected Segmentation as (H, W), got {np.asarray(expected[0]).shape}")
    return record
