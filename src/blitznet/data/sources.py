"""Sets as they are written on the command line: FORMAT:ROOT@SPLIT,option=value+value."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from blitznet.core.errors import DataError, UsageError
from blitznet.data.dataset import IndexedDataset, require_no_errors
from blitznet.data.mapping import MappedDataset, map_classes
from blitznet.data.voc import LISTS, open_voc

FORMATS = ("voc", "sbd", "coco", "yolo", "folder")
OPTIONS = ("classes", "void", "weight", "masks", "masked")
EXAMPLE = "voc:VOCdevkit/VOC2012@train,classes=car+person,weight=2"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a set lies and how it is to be taken; made by `parse_source`."""

    format: str
    root: Path
    split: str | None = None
    classes: tuple[str, ...] | None = None
    """only these were annotated; None: all that the set names"""
    void: tuple[str, ...] = ()
    """what counts for nothing, instead of as background"""
    weight: float = 1.0
    """2: sampled twice as often"""
    masks: tuple[str, ...] | None = None
    """VOC: folders of class maps instead of SegmentationClass, the first that has a image's counts; (): no masks"""
    masked: float = 1.0
    """VOC: share of the images whose masks are used, chosen by a hash of the id"""
    text: str = ""
    """as the user typed it"""

    @property
    def title(self) -> str:
        """As the user typed it, or the same put together."""
        return self.text or f"{self.format}:{self.root}" + (f"@{self.split}" if self.split else "")


def parse_source(text: str) -> Source:
    """Read FORMAT:ROOT@SPLIT,option=value+value.

    Options begin at the first comma; the split stands after the last @ before it, and has no slash, so that a
    ROOT may have an @ in it; only VOC's may name its list's folder, as in @Segmentation/val.
    """
    head, *options = text.split(",")
    form, colon, place = head.partition(":")
    if not colon or form not in FORMATS:
        raise UsageError(f"'{text}': expected FORMAT:ROOT@SPLIT with FORMAT one of {', '.join(FORMATS)}; {_example()}")
    root, at, split = place.rpartition("@")
    listed = form == "voc" and split.partition("/")[0] in LISTS and split.count("/") == 1
    if not at or ("/" in split and not listed) or "\\" in split:
        root, split = place, ""
    if not root or (at and root != place and not split) or split.endswith("/"):
        raise UsageError(f"'{text}': expected a folder, and a split's name after @; {_example()}")
    values = dict(_parse_option(option, text) for option in options)
    if len(values) < len(options):
        raise UsageError(f"'{text}': an option stands there twice; {_example()}")
    return Source(
        format=form,
        root=Path(root),
        split=split or None,
        classes=_names(values["classes"]) if "classes" in values else None,
        void=_names(values.get("void", "")),
        weight=_weight(values.get("weight", "1"), text),
        masks=_masks(values.get("masks"), form, text),
        masked=_masked(values.get("masked"), form, text),
        text=text,
    )


def open_dataset(source: Source) -> IndexedDataset:
    """The set under its own names; what cannot be read is in its `errors`, and raised when asked for."""
    if not source.root.exists():
        raise DataError(f"{source.title}: there is no folder {source.root}")
    root, split, title = source.root, source.split, source.title
    match source.format:
        case "voc":
            return open_voc(root, split, title=title, masks=source.masks, masked=source.masked)
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
            raise UsageError(f"'{source.format}': expected a format of {', '.join(FORMATS)}; {_example()}")


def open_mapped(source: Source, classes: tuple[str, ...]) -> MappedDataset:
    """The set under the model's classes; refuses one with annotations that cannot be read."""
    dataset = open_dataset(source)
    require_no_errors(dataset)
    return map_classes(dataset, classes, annotated=source.classes, void=source.void)


def open_sources(texts: Iterable[str], classes: tuple[str, ...]) -> list[MappedDataset]:
    """Parse, open and map each set onto the model's classes."""
    return [open_mapped(parse_source(text), classes) for text in texts]


def _parse_option(option: str, text: str) -> tuple[str, str]:
    key, equals, value = option.partition("=")
    if key not in OPTIONS:
        raise UsageError(f"'{text}': there is no option '{key}'; options are {', '.join(OPTIONS)}; {_example()}")
    if not equals or not value or "" in value.split("+"):
        raise UsageError(f"'{text}': option '{key}' wants a value; {_example()}")
    return key, value


def _names(value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split("+") if name.strip())


def _weight(value: str, text: str) -> float:
    try:
        weight = float(value)
    except ValueError:
        weight = 0.0
    if not (math.isfinite(weight) and weight > 0):
        raise UsageError(f"'{text}': weight={value} is not a number above 0; {_example()}")
    return weight


def _masks(value: str | None, form: str, text: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if form != "voc":
        raise UsageError(f"'{text}': option 'masks' is for voc only; {_example()}")
    return () if value == "none" else _names(value)


def _masked(value: str | None, form: str, text: str) -> float:
    if value is None:
        return 1.0
    if form != "voc":
        raise UsageError(f"'{text}': option 'masked' is for voc only; {_example()}")
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UsageError(f"'{text}': masked={value} is not a number of 0..1; {_example()}")
    return share


def _example() -> str:
    return f"for example {EXAMPLE}"
