"""Dataset strings of the command line: FORMAT:ROOT@SPLIT,option=value+value."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from blitznet.core.errors import DataError, UsageError
from blitznet.data.dataset import IndexedDataset, require_no_errors
from blitznet.data.mapping import MappedDataset, map_classes
from blitznet.data.voc import LIST_FOLDERS, open_voc

DATASET_FORMATS = ("voc", "sbd", "coco", "yolo", "folder")
OPTIONS = ("annotated", "ignore", "sample_weight", "masks", "mask_fraction")
EXAMPLE = "voc:VOCdevkit/VOC2012@train,annotated=car+person,sample_weight=2"


@dataclass(frozen=True, slots=True)
class DatasetSource:
    """A parsed dataset string; made by `parse_source`."""

    format: str
    root: Path
    split: str | None = None
    annotated: tuple[str, ...] | None = None
    """classes that are exhaustively annotated; None: all class names of the dataset"""
    ignore: tuple[str, ...] = ()
    """classes that are ignored instead of counted as background"""
    sample_weight: float = 1.0
    """relative sampling frequency: with 2, samples are drawn twice as often"""
    masks: tuple[str, ...] | None = None
    """VOC: folders of class maps, None: SegmentationClass, (): no masks; the first one with an image's mask wins"""
    mask_fraction: float = 1.0
    """VOC: fraction of the images whose masks are used, selected by a hash of the id"""
    text: str = ""
    """the dataset string as the user typed it"""

    @property
    def title(self) -> str:
        """The dataset string as the user typed it, or FORMAT:ROOT@SPLIT."""
        return self.text or f"{self.format}:{self.root}" + (f"@{self.split}" if self.split else "")


def parse_source(text: str) -> DatasetSource:
    """Parse FORMAT:ROOT@SPLIT,option=value+value.

    Options start at the first comma. The split follows the last @ before the options and contains no slash, so ROOT
    may contain an @. Only a VOC split may name the folder of its list, as in @Segmentation/val.

    Raises:
        UsageError: The text has another form, an unknown option, or a value out of range.
    """
    head, *options = text.split(",")
    dataset_format, colon, location = head.partition(":")
    if not colon or dataset_format not in DATASET_FORMATS:
        raise UsageError(
            f"'{text}': expected FORMAT:ROOT@SPLIT with FORMAT one of {', '.join(DATASET_FORMATS)}; {_example()}"
        )
    root, at, split = location.rpartition("@")
    has_list_folder = dataset_format == "voc" and split.partition("/")[0] in LIST_FOLDERS and split.count("/") == 1
    if not at or ("/" in split and not has_list_folder) or "\\" in split:
        root, split = location, ""
    if not root or (at and root != location and not split) or split.endswith("/"):
        raise UsageError(f"'{text}': expected a folder, and a split's name after @; {_example()}")
    values = dict(_parse_option(option, text) for option in options)
    if len(values) < len(options):
        raise UsageError(f"'{text}': expected each option once, got one twice; {_example()}")
    return DatasetSource(
        format=dataset_format,
        root=Path(root),
        split=split or None,
        annotated=_parse_names(values["annotated"]) if "annotated" in values else None,
        ignore=_parse_names(values.get("ignore", "")),
        sample_weight=_parse_sample_weight(values.get("sample_weight", "1"), text),
        masks=_parse_masks(values.get("masks"), dataset_format, text),
        mask_fraction=_parse_mask_fraction(values.get("mask_fraction"), dataset_format, text),
        text=text,
    )


def open_dataset(source: DatasetSource) -> IndexedDataset:
    """Open a dataset under its own class names; samples that cannot be parsed are in its `errors`.

    Raises:
        DataError: The folder, the split or a file of the whole dataset is missing or broken.
    """
    if not source.root.exists():
        raise DataError(f"{source.title}: expected the folder {source.root}, got a path that does not exist")
    root, split, title = source.root, source.split, source.title
    match source.format:
        case "voc":
            return open_voc(root, split, title=title, masks=source.masks, mask_fraction=source.mask_fraction)
        case "sbd":
            from blitznet.data.sbd import open_sbd

            return open_sbd(root, split, title=title)
        case "coco":
            from blitznet.data.coco import open_coco

            return open_coco(root, split, title=title)
        case "yolo":
            from blitznet.data.yolo import open_yolo

            return open_yolo(root, split, title=title)
        case "folder":
            from blitznet.data.folder import open_folder

            return open_folder(root, split, title=title)
        case _:
            raise UsageError(
                f"format: expected one of {', '.join(DATASET_FORMATS)}, got '{source.format}'; {_example()}"
            )


def open_mapped(source: DatasetSource, class_names: tuple[str, ...]) -> MappedDataset:
    """Open a dataset under the model's class names.

    Raises:
        DataError: The dataset or one of its samples cannot be parsed, or no class name matches.
    """
    dataset = open_dataset(source)
    require_no_errors(dataset)
    return map_classes(dataset, class_names, annotated=source.annotated, ignore=source.ignore)


def open_sources(texts: Iterable[str], class_names: tuple[str, ...]) -> list[MappedDataset]:
    """Parse dataset strings, and open each dataset under the model's class names."""
    return [open_mapped(parse_source(text), class_names) for text in texts]


def _parse_option(option: str, text: str) -> tuple[str, str]:
    key, equals, value = option.partition("=")
    if key not in OPTIONS:
        raise UsageError(f"'{text}': expected an option of {', '.join(OPTIONS)}, got '{key}'; {_example()}")
    if not equals or not value or "" in value.split("+"):
        raise UsageError(f"'{text}': {key}: expected a value, got '{value}'; {_example()}")
    return key, value


def _parse_names(value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split("+") if name.strip())


def _parse_sample_weight(value: str, text: str) -> float:
    try:
        weight = float(value)
    except ValueError:
        weight = 0.0
    if not (math.isfinite(weight) and weight > 0):
        raise UsageError(f"'{text}': sample_weight: expected a number above 0, got {value}; {_example()}")
    return weight


def _parse_masks(value: str | None, dataset_format: str, text: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if dataset_format != "voc":
        raise UsageError(f"'{text}': masks: expected format voc, got {dataset_format}; {_example()}")
    return () if value == "none" else _parse_names(value)


def _parse_mask_fraction(value: str | None, dataset_format: str, text: str) -> float:
    if value is None:
        return 1.0
    if dataset_format != "voc":
        raise UsageError(f"'{text}': mask_fraction: expected format voc, got {dataset_format}; {_example()}")
    try:
        fraction = float(value)
    except ValueError:
        fraction = -1.0
    if not 0 <= fraction <= 1:
        raise UsageError(f"'{text}': mask_fraction: expected a number from 0 to 1, got {value}; {_example()}")
    return fraction


def _example() -> str:
    return f"for example {EXAMPLE}"
