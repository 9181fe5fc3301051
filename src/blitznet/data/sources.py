"""Dataset strings of the command line: FORMAT:ROOT@SPLIT,option=value+value."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from blitznet.core.errors import DataError, UsageError
from blitznet.data.coco import open_coco
from blitznet.data.csv_boxes import open_csv
from blitznet.data.cvat import open_cvat
from blitznet.data.darknet import open_darknet
from blitznet.data.dataset import IndexedDataset, require_no_errors, treat_unlabeled
from blitznet.data.folder import open_folder
from blitznet.data.huggingface import open_huggingface
from blitznet.data.labelme import open_labelme
from blitznet.data.labelstudio import open_labelstudio
from blitznet.data.mapping import MappedDataset, map_classes
from blitznet.data.outlines import Outlines
from blitznet.data.partition import PartName, select_part, subset
from blitznet.data.records import OutlineDataset
from blitznet.data.sbd import open_sbd
from blitznet.data.splits import find_split
from blitznet.data.supervisely import open_supervisely
from blitznet.data.via import open_via
from blitznet.data.voc import LIST_FOLDERS, open_voc
from blitznet.data.yolo import YoloDataset, open_yolo

if TYPE_CHECKING:
    from blitznet.data.detect import DatasetLayout, Purpose


class Reader(Protocol):
    """Opens a dataset of one format."""

    def __call__(self, root: Path, split: str | None, /, *, title: str) -> IndexedDataset:
        """The dataset at a path.

        Raises:
            DataError: The folder, the split or a file of the whole dataset is missing or broken.
        """


READERS: dict[str, Reader] = {
    "voc": open_voc,
    "sbd": open_sbd,
    "coco": open_coco,
    "yolo": open_yolo,
    "folder": open_folder,
    "darknet": open_darknet,
    "labelme": open_labelme,
    "cvat": open_cvat,
    "labelstudio": open_labelstudio,
    "via": open_via,
    "huggingface": open_huggingface,
    "supervisely": open_supervisely,
    "csv": open_csv,
}
"""format of dataset strings -> function that opens it"""
DATASET_FORMATS = tuple(READERS)
OPTIONS = ("annotated", "ignore", "sample_weight", "masks", "mask_fraction", "unlabelled", "missing", "part")
EXAMPLE = "voc:VOCdevkit/VOC2012@train,annotated=car+person,sample_weight=2"

Choice = TypeVar("Choice", bound=str)
Unlabelled = Literal["skip", "empty"]
Missing = Literal["error", "skip"]
_UNLABELLED: tuple[Unlabelled, Unlabelled] = ("skip", "empty")
_MISSING: tuple[Missing, Missing] = ("error", "skip")


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
    """VOC: folders of class maps, None: SegmentationClass; the first one with an image's mask wins. (): no masks"""
    mask_fraction: float = 1.0
    """VOC: fraction of the images whose masks are used, selected by a hash of the id"""
    unlabelled: Unlabelled | None = None
    """images without a label: skip, nothing is known about them; or empty, they contain no object. None: empty in a
    COCO file, which has no label for an empty image either, else skip"""
    missing: Missing = "error"
    """images that do not exist: an error before the first step, or skip"""
    part: tuple[PartName, float] | None = None
    """train or val, and the fraction of the evaluation part, for a dataset without an evaluation split"""
    text: str = ""
    """the dataset string as the user typed it"""
    layout: "DatasetLayout | None" = None
    """what was recognized at a path without a format; None if the user typed the format"""

    @property
    def title(self) -> str:
        """The dataset string as the user typed it, or FORMAT:ROOT@SPLIT."""
        return self.text or f"{self.format}:{self.root}" + (f"@{self.split}" if self.split else "")


def parse_source(text: str) -> DatasetSource:
    """Parse FORMAT:ROOT@SPLIT,option=value+value, or the path of a dataset whose format is recognized.

    Options start at the first comma behind the path; a path that exists may contain commas. The split follows the last
    @ before the options and contains no slash, so ROOT may contain an @. Only a VOC split may name the folder of its
    list, as in @Segmentation/val. A path without a format means its training split.

    Raises:
        UsageError: The text has another form, an unknown option, or a value out of range; or the format of the path is
            not recognized.
    """
    return expand_source(text, "train")[0]


def expand_source(text: str, purpose: "Purpose") -> tuple[DatasetSource, ...]:
    """Parse a dataset string; a path without a format and split becomes its splits for a purpose.

    Raises:
        UsageError: As `parse_source`.
    """
    dataset_format, colon, location = text.partition(":")
    if colon and dataset_format.lower() in DATASET_FORMATS:
        return (_parse_explicit(text, dataset_format.lower(), location),)
    location, options = _split_options(text)
    root, split = _split_location(location, "")
    if not root or not Path(root).expanduser().exists():
        reason = "" if colon or not root else ", got a path that does not exist"
        raise UsageError(
            f"'{text}': expected FORMAT:ROOT@SPLIT with FORMAT one of {', '.join(DATASET_FORMATS)}, or the path of a "
            f"dataset{reason}; {_example()}"
        )
    from blitznet.data.detect import detect_layout, select_splits

    layout = detect_layout(Path(root).expanduser())
    splits = (split,) if split else select_splits(layout, purpose)
    return tuple(
        _make_source(
            ",".join([layout.dataset_string(name), *options]), layout.format, layout.root, name, options, layout
        )
        for name in splits
    )


def expand_sources(texts: Iterable[str], purpose: "Purpose") -> list[DatasetSource]:
    """`expand_source` of several texts."""
    return [source for text in texts for source in expand_source(text, purpose)]


def split_sources(data: Iterable[str], val: Sequence[str]) -> tuple[list[DatasetSource], list[DatasetSource]]:
    """The training and evaluation sets of a run.

    If `val` is one fraction such as 0.2, each training set is split by a hash of its images. If `val` is empty, the
    evaluation splits of the training sets that were given as paths without a format and split are used.

    Raises:
        UsageError: As `parse_source`, or the fraction is not between 0 and 1.
    """
    training = expand_sources(data, "train")
    if len(val) == 1 and (fraction := _parse_fraction(val[0])) is not None:
        parts: tuple[PartName, PartName] = ("train", "val")
        train_part, val_part = ([_with_part(source, part, fraction) for source in training] for part in parts)
        return train_part, val_part
    if val:
        return training, expand_sources(val, "eval")
    found_splits = [
        candidate
        for source in training
        if source.layout is not None and len(source.layout.splits) > 1
        for candidate in _evaluation_split(source)
    ]
    return training, found_splits


def describe_sources(sources: Iterable[DatasetSource]) -> list[str]:
    """One line for each path whose format was recognized: what it is, and which splits are used."""
    lines: dict[tuple[Path, str], list[str]] = {}
    for source in sources:
        if source.layout is not None:
            lines.setdefault((source.layout.root, str(source.layout)), []).append(source.split or "all images")
    return [f"{root}: {text}; using {', '.join(dict.fromkeys(splits))}" for (root, text), splits in lines.items()]


def _evaluation_split(source: DatasetSource) -> tuple[DatasetSource, ...]:
    """The validation split of a recognized dataset; nothing without one."""
    assert source.layout is not None, "the caller checks"
    name = find_split("val", source.layout.splits)
    if name is None or name == source.split:
        return ()
    text = source.layout.dataset_string(name)
    return (replace(source, split=name, text=text, sample_weight=1.0),)


def _with_part(source: DatasetSource, part: PartName, fraction: float) -> DatasetSource:
    if source.part is not None:
        raise UsageError(f"'{source.text}': part: expected none with --val {fraction:g}; remove it")
    return replace(source, part=(part, fraction), text=f"{source.title},part={part}+{fraction:g}")


def _parse_fraction(text: str) -> float | None:
    """A number; None for any other text."""
    try:
        fraction = float(text)
    except ValueError:
        return None
    if not 0 < fraction < 1:
        raise UsageError(f"--val {text}: expected a dataset, or a fraction between 0 and 1")
    return fraction


def _split_options(text: str) -> tuple[str, list[str]]:
    """The location and the options; the location is the longest beginning that exists, else ends at a comma."""
    words = text.split(",")
    for count in range(len(words), 1, -1):
        location = ",".join(words[:count])
        root, _, split = location.rpartition("@")
        if _exists(location) or (_exists(root) and "," not in split):
            return location, words[count:]
    return words[0], words[1:]


def _exists(path: str) -> bool:
    try:
        return bool(path) and Path(path).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long, no such user, a null character
        return False


def _split_location(location: str, dataset_format: str) -> tuple[str, str]:
    """Root and split; the split is empty if there is none."""
    root, at, split = location.rpartition("@")
    has_list_folder = dataset_format == "voc" and split.partition("/")[0] in LIST_FOLDERS and split.count("/") == 1
    if not at or _exists(location) or ("/" in split and not has_list_folder) or "\\" in split:
        return location, ""
    return root, split


def _parse_explicit(text: str, dataset_format: str, location: str) -> DatasetSource:
    location, options = _split_options(location)
    root, split = _split_location(location, dataset_format)
    if not root or (root != location and not split) or split.endswith("/"):
        raise UsageError(f"'{text}': expected a folder, and a split's name after @; {_example()}")
    path = Path(root).expanduser() if root.startswith("~") and _exists(root) else Path(root)
    return _make_source(text, dataset_format, path, split or None, options, None)


def _make_source(
    text: str, dataset_format: str, root: Path, split: str | None, options: list[str], layout: "DatasetLayout | None"
) -> DatasetSource:
    values = dict(_parse_option(option, text) for option in options)
    if len(values) < len(options):
        raise UsageError(f"'{text}': expected each option once, got one twice; {_example()}")
    return DatasetSource(
        format=dataset_format,
        root=root,
        split=split,
        annotated=_parse_names(values["annotated"]) if "annotated" in values else None,
        ignore=_parse_names(values.get("ignore", "")),
        sample_weight=_parse_sample_weight(values.get("sample_weight", "1"), text),
        masks=_parse_masks(values.get("masks"), dataset_format, text),
        mask_fraction=_parse_mask_fraction(values.get("mask_fraction"), dataset_format, text),
        unlabelled=_parse_choice(values, "unlabelled", _UNLABELLED, text) if "unlabelled" in values else None,
        missing=_parse_choice(values, "missing", _MISSING, text),
        part=_parse_part(values.get("part"), text),
        text=text,
        layout=layout,
    )


def open_dataset(source: DatasetSource) -> IndexedDataset:
    """Open a dataset under its own class names; samples that cannot be parsed are in its `errors`.

    Images without a label are in its `unlabeled`, unless they count as empty for the source.

    Raises:
        DataError: The folder, the split or a file of the whole dataset is missing or broken.
    """
    if source.format not in READERS:
        raise UsageError(f"format: expected one of {', '.join(READERS)}, got '{source.format}'; {_example()}")
    if not source.root.exists():
        raise DataError(f"{source.title}: expected the folder {source.root}, got a path that does not exist")
    dataset = _open(source)
    if source.masks == () and isinstance(dataset, OutlineDataset | YoloDataset):
        dataset = replace(dataset, outlines=Outlines.pack(()))
    if source.unlabelled is not None:
        dataset = treat_unlabeled(dataset, source.unlabelled)
    return dataset if source.part is None else select_part(dataset, *source.part)


def existing_images(dataset: IndexedDataset, source: DatasetSource) -> IndexedDataset:
    """The dataset, without the images that do not exist with `missing=skip`.

    Raises:
        DataError: No image exists.
    """
    if source.missing == "error":
        return dataset
    indices = [index for index, path in enumerate(dataset.image_paths) if Path(path).is_file()]
    if not indices:
        raise DataError(f"{source.title}: expected images, got {len(dataset)} paths that do not exist")
    return dataset if len(indices) == len(dataset) else subset(dataset, indices)


def _open(source: DatasetSource) -> IndexedDataset:
    if source.format == "voc":
        masks, fraction = source.masks, source.mask_fraction
        return open_voc(source.root, source.split, title=source.title, masks=masks, mask_fraction=fraction)
    return READERS[source.format](source.root, source.split, title=source.title)


def open_mapped(source: DatasetSource, class_names: tuple[str, ...]) -> MappedDataset:
    """Open a dataset under the model's class names.

    Raises:
        DataError: The dataset or one of its samples cannot be parsed, or no class name matches.
    """
    dataset = open_dataset(source)
    require_no_errors(dataset)
    images = existing_images(dataset, source)
    return map_classes(images, class_names, annotated=source.annotated, ignore=source.ignore)


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


def _parse_choice(values: dict[str, str], key: str, choices: tuple[Choice, Choice], text: str) -> Choice:
    """The value of an option with two choices; the first is the default."""
    value = values.get(key, choices[0])
    choice = next((choice for choice in choices if choice == value), None)
    if choice is None:
        raise UsageError(f"'{text}': {key}: expected {' or '.join(choices)}, got {value}; {_example()}")
    return choice


def _parse_part(value: str | None, text: str) -> tuple[PartName, float] | None:
    if value is None:
        return None
    name, _, number = value.partition("+")
    try:
        fraction = float(number)
    except ValueError:
        fraction = 0.0
    if name not in ("train", "val") or not 0 < fraction < 1:
        raise UsageError(f"'{text}': part: expected train+0.2 or val+0.2, got {value}; {_example()}")
    return ("train" if name == "train" else "val"), fraction


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
    if value == "none":
        return ()
    if dataset_format != "voc":
        raise UsageError(f"'{text}': masks: expected none, or format voc, got {value}; {_example()}")
    return _parse_names(value)


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
