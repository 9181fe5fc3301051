"""Reader of Darknet datasets, also CVAT's YOLO 1.1: a .data file, a list of class names, and lists of images."""

from pathlib import Path

from blitznet.core.errors import DataError
from blitznet.data.dataset import read_class_list, read_text
from blitznet.data.image_files import ImageFinder
from blitznet.data.splits import find_split, is_split_name
from blitznet.data.yolo import LabelFormat, YoloDataset, listed_images, make_yolo

_MAX_DATA = 1 << 20


def open_darknet(root: Path, split: str | None, *, title: str) -> YoloDataset:
    """Open a split (train, valid) of the .data file in `root`, or of the .data file `root`.

    Paths in the .data file and in the lists are relative to `root`, or end with a path in it. Label files have the
    names of the images. The split may be omitted if there is one.

    Raises:
        DataError: A file is missing or broken. Errors of label files are in the dataset's `errors`.
    """
    path = root if root.is_file() else find_data_file(root)
    if path is None:
        raise DataError(f"{root}: expected a Darknet file such as obj.data with `names` and `train`, got none")
    folder = path.parent if root.is_file() else root
    options = read_data_file(path)
    if "names" not in options:
        raise DataError(f"{path}: expected `names = FILE`, got {', '.join(options) or 'nothing'}")
    finder = ImageFinder(folder, [path.parent])
    names = read_class_list(finder.find(options["names"]))
    available = [key for key in options if is_split_name(key)]
    key = available[0] if split is None and len(available) == 1 else find_split(split or "", available)
    if key is None:
        problem = f"there is no split '{split}'" if split else "expected a split"
        raise DataError(f"{path}: {problem}; splits here: {', '.join(available) or 'none'}; write darknet:{root}@SPLIT")
    images = listed_images(finder.find(options[key]), finder)
    if not images:
        raise DataError(f"{finder.find(options[key])}: expected one image per line, got an empty list")
    return make_yolo(images, LabelFormat(names, {label: label for label in range(len(names))}), title=title)


def find_data_file(root: Path) -> Path | None:
    """The first .data file in a folder, in its `data` or its `cfg`, that names the classes."""
    paths = [path for folder in (root, root / "data", root / "cfg") for path in sorted(folder.glob("*.data"))]
    for path in paths:
        try:
            if "names" in read_data_file(path):
                return path
        except DataError:
            continue
    return None


def read_data_file(path: Path) -> dict[str, str]:
    """The options of a .data file, `key = value` on each line.

    Raises:
        DataError: The file is missing, too large, or not UTF-8.
    """
    lines = read_text(path, limit=_MAX_DATA).splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {key.strip(): value.strip() for key, _, value in pairs if value.strip()}
