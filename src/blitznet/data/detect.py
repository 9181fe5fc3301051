"""Recognize the format of a dataset from the files in its folder."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from blitznet.core.errors import DataError, UsageError
from blitznet.core.files import require_file
from blitznet.data.annotation_files import read_xml
from blitznet.data.coco import ROBOFLOW_FILE, coco_files
from blitznet.data.color_masks import COLOR_TABLES
from blitznet.data.csv_boxes import csv_splits, find_csv_file, is_box_csv
from blitznet.data.cvat import cvat_subsets, find_cvat_file
from blitznet.data.cvat_video import has_tracks
from blitznet.data.darknet import find_data_file, read_data_file
from blitznet.data.file_walk import walk_files
from blitznet.data.folder import ROBOFLOW_CLASSES, find_mask_folders, mask_folder_splits
from blitznet.data.huggingface import METADATA_FILES, huggingface_splits, parquet_files
from blitznet.data.labelme import labelme_splits
from blitznet.data.labelstudio import find_task_file
from blitznet.data.labelstudio_brushes import find_brush_files
from blitznet.data.splits import find_split, is_split_name
from blitznet.data.supervisely import supervisely_datasets
from blitznet.data.voc import voc_splits, voc_xml_files
from blitznet.data.yolo import find_class_list, find_yaml, read_yaml, yolo_folder_splits, yolo_splits

JsonKind = Literal["coco", "labelme", "via", "labelstudio", "supervisely"]
Purpose = Literal["train", "eval", "all"]
"""what splits are selected for: the training split, the evaluation split, or all"""

_MAX_SNIFFED = 32 << 20
"""bytes above which only the beginning of a JSON file is read to recognize it"""
_MAX_SNIFFED_FILES = 40
_MAX_DEPTH = 3
_COCO_KEYS = re.compile(rb'"(images|annotations|categories)"\s*:\s*\[')
_HEAD = 1 << 16
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".rar", ".7z")
_MAX_COMMENTS = 100
"""comments before the outermost element of an XML file"""


@dataclass(frozen=True, slots=True)
class DatasetLayout:
    """A dataset that was recognized."""

    format: str
    """format of dataset strings"""
    name: str
    """what it was recognized as, such as Roboflow COCO"""
    root: Path
    splits: tuple[str, ...] = ()
    """names of the splits; none if the dataset has no splits"""

    def dataset_string(self, split: str | None) -> str:
        """FORMAT:ROOT@SPLIT."""
        return f"{self.format}:{self.root}" + (f"@{split}" if split else "")

    def __str__(self) -> str:
        listed = f", splits {', '.join(self.splits)}" if self.splits else ""
        return f"{self.name}{listed}"


def detect_layout(path: Path) -> DatasetLayout:
    """The only format that a folder or file has.

    Raises:
        UsageError: No format was recognized, or several were; the message lists the candidates.
    """
    layouts = _find_layouts(path, depth=0)
    if len(layouts) == 1:
        return layouts[0]
    if layouts:
        candidates = "; ".join(f"{layout.dataset_string(None)} ({layout})" for layout in layouts[:6])
        raise UsageError(f"{path}: expected one dataset, recognized {len(layouts)}: {candidates}; name one of them")
    raise UsageError(f"{path}: expected a dataset of a known format, got {_describe_content(path)}; {_advice(path)}")


def select_splits(layout: DatasetLayout, purpose: Purpose) -> tuple[str | None, ...]:
    """The splits for a purpose; None stands for a dataset without splits.

    Raises:
        UsageError: The splits have names from which the purpose is not clear.
    """
    if not layout.splits:
        return (None,)
    if purpose == "all" or len(layout.splits) == 1:
        return layout.splits
    names = ("train", "trainval", "default") if purpose == "train" else ("val", "test", "trainval", "default")
    for name in names:
        split = find_split(name, layout.splits)
        if split is not None:
            return (split,)
    raise UsageError(
        f"{layout.root}: expected a split, got {', '.join(layout.splits)}; write {layout.dataset_string('SPLIT')}"
    )


def _find_layouts(path: Path, *, depth: int) -> list[DatasetLayout]:
    """All layouts of a path; those of its folders if it has none itself."""
    layouts = [layout for recognize in RECOGNIZERS.values() if (layout := _try(recognize, path)) is not None]
    if len(layouts) > 1:  # a table that a script made of the other files
        layouts = [layout for layout in layouts if layout.format != "csv"]
    if layouts or depth >= _MAX_DEPTH or not path.is_dir():
        return layouts
    folders = sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith((".", "__MACOSX")))
    return [layout for folder in folders[:20] for layout in _find_layouts(folder, depth=depth + 1)]


def _try(recognize: "Callable[[Path], DatasetLayout | None]", path: Path) -> DatasetLayout | None:
    try:
        return recognize(path)
    except DataError:
        return None


def _recognize_voc(path: Path) -> DatasetLayout | None:
    if not path.is_dir():
        return None
    if (path / "ImageSets").is_dir():
        folders = ("JPEGImages", "Annotations", "SegmentationClass")
        if not any((path / name).is_dir() for name in folders):
            return None
        name = "CVAT segmentation masks" if (path / COLOR_TABLES[0]).is_file() else "Pascal VOC"
        return DatasetLayout("voc", name, path, voc_splits(path))
    splits = voc_splits(path)
    xml = next(iter(voc_xml_files(path / splits[0] if splits else path, depth=2).values()), None)
    if xml is None or _xml_root(xml) != "annotation":
        return None
    return DatasetLayout("voc", "Pascal VOC files without lists", path, splits)


def _recognize_sbd(path: Path) -> DatasetLayout | None:
    folder = path / "dataset" if (path / "dataset").is_dir() else path
    if not any((folder / "cls").glob("*.mat")):
        return None
    return DatasetLayout("sbd", "SBD", path, tuple(sorted(p.stem for p in folder.glob("*.txt"))))


def _recognize_coco(path: Path) -> DatasetLayout | None:
    if path.is_file():
        return DatasetLayout("coco", "COCO", path) if json_kind(path) == "coco" else None
    if not path.is_dir() or len(list(path.glob("*.json"))) > _MAX_SNIFFED_FILES:
        return None
    files = coco_files(path)
    instances = {split: file for split, file in files.items() if file.name.startswith("instances_")}
    sniffed = files if len(files) <= _MAX_SNIFFED_FILES else {}  # a file for each image is another format
    selected = instances or {split: file for split, file in sniffed.items() if json_kind(file) == "coco"}
    if not selected:
        return None
    name = "Roboflow COCO" if all(file.name == ROBOFLOW_FILE for file in selected.values()) else "COCO"
    if len(selected) > 1 or next(iter(selected)) in ("train", "default"):
        return DatasetLayout("coco", name, path, _order(selected))
    return DatasetLayout("coco", name, next(iter(selected.values())))


def _recognize_yolo(path: Path) -> DatasetLayout | None:
    yaml_path = path if path.suffix in (".yaml", ".yml") and path.is_file() else None
    if yaml_path is None and path.is_dir():
        yaml_path = find_yaml(path)
    if yaml_path is not None:
        content = read_yaml(yaml_path)
        if not content.get("names"):
            return None
        name = "Roboflow YOLO" if "roboflow" in content else "YOLO"
        return DatasetLayout("yolo", name, path, _order(yolo_splits(yaml_path)))
    if not path.is_dir() or find_data_file(path) is not None or find_class_list(path) is None:
        return None
    splits = yolo_folder_splits(path)
    names = ("labels", "Labels", "images", ".", *splits, *(f"{split}/labels" for split in splits))
    texts = [text for name in names for text in (path / name).glob("*.txt") if text.parent != path or _is_labels(text)]
    texts += [text for split in splits for text in (path / "labels" / split).glob("*.txt")]
    return (
        DatasetLayout("yolo", "YOLO without data.yaml", path, _order(splits))
        if any(map(_is_labels, texts[:20]))
        else None
    )


def _recognize_darknet(path: Path) -> DatasetLayout | None:
    data = path if path.suffix == ".data" and path.is_file() else find_data_file(path) if path.is_dir() else None
    if data is None:
        return None
    options = read_data_file(data)
    splits = _order(key for key in options if is_split_name(key))
    return DatasetLayout("darknet", "Darknet YOLO", path, splits) if "names" in options and splits else None


def _recognize_folder(path: Path) -> DatasetLayout | None:
    if not path.is_dir() or (path / "ImageSets").is_dir():
        return None
    splits = mask_folder_splits(path)
    base = next((path / split for split in splits if (path / split).is_dir()), path)
    tables = ("classes.txt", "class_names.txt", ROBOFLOW_CLASSES, *COLOR_TABLES)
    table = next((f / name for f in (base, path) for name in tables if (f / name).is_file()), None)
    images, masks = find_mask_folders(base)
    if table is None or not images.is_dir() or not any(p.suffix.lower() == ".png" for p in walk_files(masks)):
        return None
    kinds = {ROBOFLOW_CLASSES: "Roboflow masks", **dict.fromkeys(COLOR_TABLES, "color masks")}
    return DatasetLayout("folder", kinds.get(table.name, "mask folder"), path, _order(splits))


def _recognize_labelme(path: Path) -> DatasetLayout | None:
    if path.is_file():
        return None
    splits = labelme_splits(path)
    folders = [path / split for split in splits] or [path, *(p for p in sorted(path.iterdir()) if p.is_dir())]
    files = [file for folder in folders for file in sorted(folder.glob("*.json"))[:3]]
    is_labelme = any(json_kind(file) == "labelme" for file in files[:_MAX_SNIFFED_FILES])
    return DatasetLayout("labelme", "labelme", path, _order(splits)) if is_labelme else None


def _recognize_cvat(path: Path) -> DatasetLayout | None:
    file = path if path.is_file() and path.suffix == ".xml" else find_cvat_file(path) if path.is_dir() else None
    if file is None or _xml_root(file) != "annotations":
        return None
    name = "CVAT for video" if has_tracks(read_xml(file)) else "CVAT for images"
    return DatasetLayout("cvat", name, path, _order(cvat_subsets(file)))


def _recognize_labelstudio(path: Path) -> DatasetLayout | None:
    file = path if path.is_file() and path.suffix == ".json" else find_task_file(path) if path.is_dir() else None
    if path.is_dir() and find_brush_files(path):
        return DatasetLayout("labelstudio", "Label Studio brush masks", path)
    is_list = file is not None and json_kind(file) == "labelstudio"
    return DatasetLayout("labelstudio", "Label Studio tasks", path) if is_list else None


def _recognize_via(path: Path) -> DatasetLayout | None:
    if path.is_file():
        is_via = (path.suffix == ".json" and json_kind(path) == "via") or _is_via_csv(path)
        return DatasetLayout("via", "VIA", path) if is_via else None
    folders = [path, *(folder for folder in path.iterdir() if folder.is_dir() and is_split_name(folder.name))]
    has_file = [
        folder
        for folder in folders
        if any(_is_via_csv(f) for f in folder.glob("*.csv"))
        or any(json_kind(f) == "via" for f in sorted(folder.glob("*.json"))[:_MAX_SNIFFED_FILES])
    ]
    splits = _order(folder.name for folder in has_file if folder != path)
    return DatasetLayout("via", "VIA", path, () if path in has_file else splits) if has_file else None


def _is_via_csv(path: Path) -> bool:
    if path.suffix != ".csv" or not path.is_file():
        return False
    with path.open("rb") as file:
        return b"region_shape_attributes" in file.readline(1 << 12)


def _recognize_huggingface(path: Path) -> DatasetLayout | None:
    if path.is_file():
        return DatasetLayout("huggingface", "Hugging Face Parquet", path) if path.suffix == ".parquet" else None
    splits = _order(huggingface_splits(path))
    if parquet_files(path):
        return DatasetLayout("huggingface", "Hugging Face Parquet", path, splits)
    if splits or any((path / name).is_file() for name in METADATA_FILES):
        return DatasetLayout("huggingface", "Hugging Face image folder", path, splits)
    return None


def _recognize_supervisely(path: Path) -> DatasetLayout | None:
    if not (path / "meta.json").is_file():
        return None
    datasets = supervisely_datasets(path)
    splits = _order(datasets) if any(is_split_name(name) for name in datasets) else ()
    return DatasetLayout("supervisely", "Supervisely", path, splits) if datasets or (path / "ann").is_dir() else None


def _recognize_csv(path: Path) -> DatasetLayout | None:
    if path.is_file():
        is_csv = path.suffix == ".csv" and is_box_csv(path)
        return DatasetLayout("csv", "CSV of boxes", path) if is_csv else None
    splits = csv_splits(path)
    has_file = bool(splits) or find_csv_file(path) is not None
    return DatasetLayout("csv", "CSV of boxes", path, _order(splits)) if has_file else None


RECOGNIZERS: dict[str, Callable[[Path], DatasetLayout | None]] = {
    "voc": _recognize_voc,
    "sbd": _recognize_sbd,
    "coco": _recognize_coco,
    "yolo": _recognize_yolo,
    "darknet": _recognize_darknet,
    "folder": _recognize_folder,
    "labelme": _recognize_labelme,
    "cvat": _recognize_cvat,
    "labelstudio": _recognize_labelstudio,
    "via": _recognize_via,
    "huggingface": _recognize_huggingface,
    "supervisely": _recognize_supervisely,
    "csv": _recognize_csv,
}
"""format -> function that recognizes it; None means another format"""


def json_kind(path: Path) -> JsonKind | None:
    """Which tool wrote a JSON file; None if it is not an annotation file."""
    try:
        require_file(path)
        if path.stat().st_size > _MAX_SNIFFED:
            with path.open("rb") as file:
                return "coco" if _COCO_KEYS.search(file.read(_HEAD)) else None
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if isinstance(content, list):
        first = content[0] if content else None
        is_task = isinstance(first, dict) and (
            ("data" in first and ("annotations" in first or "completions" in first))
            or {"id", "annotator", "annotation_id"} <= {*first}  # JSON-MIN
        )
        return "labelstudio" if is_task else None
    if not isinstance(content, dict):
        return None
    if all(isinstance(content.get(key), list) for key in ("images", "annotations", "categories")):
        return "coco"
    if isinstance(content.get("shapes"), list) and "imagePath" in content:
        return "labelme"
    if isinstance(content.get("objects"), list) and isinstance(content.get("size"), dict):
        return "supervisely"
    regions = content.get("_via_img_metadata", content)
    first = next(iter(regions.values()), None) if isinstance(regions, dict) else None
    return "via" if isinstance(first, dict) and "filename" in first and "regions" in first else None


def _order(splits: Iterable[str]) -> tuple[str, ...]:
    """Train, val and test first, then the others by name."""
    names = list(dict.fromkeys(splits))
    known = [name for kind in ("train", "val", "test") if (name := find_split(kind, names)) is not None]
    return (*known, *sorted(name for name in names if name not in known))


def _xml_root(path: Path) -> str:
    """The name of the outermost element of an XML file; empty if there is none."""
    try:
        require_file(path)
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return ""
    for _ in range(_MAX_COMMENTS):  # not a regular expression: without an end it takes quadratic time
        head = head[max(head.find(b"<"), 0) :]
        end = b"?>" if head.startswith(b"<?") else b"-->" if head.startswith(b"<!--") else None
        if end is None:
            break
        head = head.partition(end)[2]
    match = re.search(rb"<([A-Za-z][\w.-]*)", head)
    return match[1].decode("ascii", "replace") if match else ""


def _is_labels(path: Path) -> bool:
    """Whether the first line of a text file is a line of YOLO's labels."""
    try:
        require_file(path)
        with path.open("rb") as file:
            words = file.readline(1 << 12).split()
    except OSError:
        return False
    try:
        return len(words) >= 5 and all(abs(float(word)) < 1e6 for word in words)
    except ValueError:
        return False


def _advice(path: Path) -> str:
    """What to do with a path whose format is not recognized."""
    if path.suffix.lower() in _ARCHIVES:
        return "unpack it and name the folder"
    if path.is_dir():
        images, masks = find_mask_folders(path)
        if images.is_dir() and masks.is_dir() and images != masks:
            if (path / "classes.txt").is_file():
                return f"the masks in {masks.name} must be PNG files with the names of the images"
            return f"the masks in {masks.name} need {path / 'classes.txt'}, the name of a class on each line"
    return "write FORMAT:ROOT@SPLIT"


def _describe_content(path: Path) -> str:
    """What lies in a folder, by suffix and number."""
    if not path.is_dir():
        return f"a {path.suffix or 'nameless'} file"
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    counts = Counter(_kind(entry) for entry in entries)
    folders = sorted(entry.name for entry in entries if entry.is_dir())
    listed = [f"{count:,} {name if count == 1 else plural}" for (name, plural), count in counts.most_common(5)]
    return (", ".join(listed) or "an empty folder") + (f" ({', '.join(folders[:6])})" if folders else "")


def _kind(entry: Path) -> tuple[str, str]:
    """What an entry of a folder is, for one and for several."""
    if entry.is_dir():
        return "folder", "folders"
    return (entry.suffix, entry.suffix) if entry.suffix else ("file without suffix", "files without suffix")
