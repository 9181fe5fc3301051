"""Reader of SBD, the Semantic Boundaries Dataset: img/ID.jpg, cls/ID.mat, inst/ID.mat and SPLIT.txt."""

import struct
import zlib
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from blitznet.core import classes
from blitznet.core.arrays import IGNORE_INDEX, ClassMap
from blitznet.core.errors import DataError, MissingExtra
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample
from blitznet.data.dataset import Annotation, AnnotationArrays, IndexedDataset, read_bytes, read_text
from blitznet.data.masks import UnknownValueError

_MAX_MAT = 16 << 20
_MAX_INFLATED = 64 << 20
"""bytes of a .mat file after decompression, at most"""
_MAT_HEADER, _MAT_COMPRESSED = 128, 15
"""bytes before the first part of a .mat file of version 5, and the number of a compressed part"""
_MAX_LIST = 64 << 20


@dataclass(frozen=True, slots=True)
class MatMask:
    """The class map of a .mat file in `cls`."""

    path: str

    def read(self) -> ClassMap:
        """Read the class map (H, W) uint8.

        Raises:
            DataError: The file is missing or broken, or has a value that stands for no class.
        """
        values = np.asarray(_load(Path(self.path), "GTcls").Segmentation)
        unknown = (values > len(classes.VOC)) & (values != IGNORE_INDEX)
        if unknown.any():
            raise UnknownValueError(f"{self.path}: expected mask values up to 20, got {values[unknown][0]}")
        return values.astype(np.uint8)


@dataclass(frozen=True, eq=False)
class SbdDataset(IndexedDataset):
    """A split of SBD; .mat files are read on demand, when a sample is indexed."""

    masks: tuple[str | None, ...]
    """path of each sample's file in `cls`; None without one"""
    instances: tuple[str | None, ...]
    """path of each sample's file in `inst`; None without one"""

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        path = self.instances[range(len(self))[index]]
        if path is None:
            return sample
        annotations = AnnotationArrays.pack([read_instances(Path(path))])
        return replace(
            sample,
            boxes=annotations.boxes,
            labels=annotations.labels,
            difficult=annotations.difficult,
            crowd=annotations.crowd,
            annotated_box_classes=np.ones(len(self.class_names), np.bool_),
        )

    def _mask(self, index: int, image: ImageSource) -> MatMask | None:  # noqa: ARG002 - of the base class
        path = self.masks[index]
        return None if path is None else MatMask(path)


def open_sbd(root: Path, split: str | None, *, title: str) -> SbdDataset:
    """Open a split of SBD under `root` or `root`/dataset; images with a file inst/ID.mat have boxes.

    Raises:
        DataError: The split is missing.
    """
    folder = root / "dataset" if (root / "dataset").is_dir() else root
    path = folder / f"{split}.txt"
    if split is None or not path.is_file():
        available = ", ".join(sorted(p.stem for p in folder.glob("*.txt"))) or "none"
        problem = f"there is no split '{split}'" if split else "expected a split"
        raise DataError(f"{folder}: {problem}; splits here: {available}; write sbd:{root}@SPLIT")
    ids = tuple(dict.fromkeys(read_text(path, limit=_MAX_LIST).split()))
    masks = {p.stem for p in (folder / "cls").glob("*.mat")}
    instances = {p.stem for p in (folder / "inst").glob("*.mat")}
    return SbdDataset(
        title=title,
        class_names=classes.VOC,
        ids=ids,
        image_paths=tuple(str(folder / "img" / f"{name}.jpg") for name in ids),
        annotations=None,
        errors={
            index: DataError(f"{folder / 'cls' / name}.mat: expected a mask, got a path that does not exist")
            for index, name in enumerate(ids)
            if name not in masks
        },
        masks=tuple(str(folder / "cls" / f"{name}.mat") if name in masks else None for name in ids),
        instances=tuple(str(folder / "inst" / f"{name}.mat") if name in instances else None for name in ids),
    )


def read_instances(path: Path) -> list[Annotation]:
    """The tight box and the class of each instance in a .mat file of `inst`."""
    record = _load(path, "GTinst")
    instance_map = np.asarray(record.Segmentation)
    annotations = []
    for number, category in enumerate(np.atleast_1d(record.Categories), 1):
        if not 1 <= int(category) <= len(classes.VOC):
            raise DataError(
                f"{path}: instance {number}: expected a category of 1 to {len(classes.VOC)}, got {category}"
            )
        y, x = np.nonzero(instance_map == number)
        if len(x):
            annotations.append(Annotation((x.min(), y.min(), x.max() + 1, y.max() + 1), int(category) - 1))
    return annotations


def _require_small(content: bytes, path: Path) -> None:
    """Raise DataError for a file whose compressed parts are too long, before scipy reads them."""
    position, total = _MAT_HEADER, 0
    while position + 8 <= len(content):
        kind, length = struct.unpack_from("<II", content, position)
        if kind == _MAT_COMPRESSED:
            part = content[position + 8 : position + 8 + length]
            total += len(zlib.decompressobj().decompress(part, _MAX_INFLATED + 1))
        if total > _MAX_INFLATED:
            raise DataError(
                f"{path}: expected at most {_MAX_INFLATED:,} bytes after decompression, got more; is it from SBD?"
            )
        position += 8 + length


def _load(path: Path, key: str) -> Any:
    """The record under `key` of a .mat file."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise MissingExtra("reading SBD's .mat files", "sbd") from error
    try:
        content = read_bytes(path, limit=_MAX_MAT)
        _require_small(content, path)
        file = BytesIO(content)  # a read of a file reserves as many bytes as a header states
        records = loadmat(file, squeeze_me=True, struct_as_record=False, variable_names=[key])  # type: ignore[arg-type] # the stub lacks file objects
        record = records[key]
        segmentation = np.asarray(record.Segmentation)
        if key == "GTinst":
            _ = record.Categories  # raises if it is missing
    except DataError:
        raise
    except Exception as error:  # scipy raises many kinds of errors for a broken file
        raise DataError(f"{path}: expected SBD's {key} record, got a broken or another file") from error
    if segmentation.ndim != 2:
        raise DataError(f"{path}: expected Segmentation of shape (H, W), got {segmentation.shape}")
    return record
