"""Class maps from PNGs of colors, and the color tables that tools write beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import IGNORE_INDEX, ClassMap
from blitznet.core.errors import DataError
from blitznet.core.image import opened_mask
from blitznet.data.annotation_files import read_csv
from blitznet.data.dataset import read_text
from blitznet.data.masks import UnknownValueError
from blitznet.data.records import BACKGROUND_NAMES, IGNORED_NAMES

ClassColor = tuple[int, int, int]

COLOR_TABLES = ("labelmap.txt", "label_colors.txt", "class_dict.csv", "label_class_dict.csv", "class_colors.csv")
"""names of files with a color for each class"""
_VOID: ClassColor = (224, 224, 192)
"""VOC's color of ignored pixels"""
_VOID_NAMES = frozenset({"void", "ignore", "ignored", "unlabeled", "unlabelled"}) | IGNORED_NAMES
_MAX_TABLE = 1 << 20


@dataclass(frozen=True, slots=True)
class ColorTable:
    """The color of each class."""

    class_names: tuple[str, ...]
    colors: tuple[tuple[ClassColor, int], ...]
    """color and value in the class map: 0 background, label + 1, 255 ignored"""

    @property
    def is_gray(self) -> bool:
        """Whether all colors are gray, so that masks of one channel have them too."""
        return all(red == green == blue for (red, green, blue), _ in self.colors if (red, green, blue) != _VOID)


@dataclass(frozen=True, slots=True)
class ColorMask:
    """A PNG whose colors are classes; a palette PNG counts by the colors of its palette."""

    path: str
    table: ColorTable

    def read(self) -> ClassMap:
        """Read the class map (H, W) uint8.

        Raises:
            UnknownValueError: A color stands for no class.
            DataError: The file is missing, broken or too large.
        """
        values = self._read_codes()
        codes, classes = (np.asarray(column) for column in zip(*sorted(_coded(self.table)), strict=True))
        index = np.searchsorted(codes, values).clip(max=len(codes) - 1)
        unknown = codes[index] != values
        if unknown.any():
            listed = ", ".join(str(_color(code)) for code in np.unique(values[unknown])[:5])
            raise UnknownValueError(f"{self.path}: expected the colors of the color table, got {listed}")
        return np.asarray(classes[index], np.uint8)

    def _read_codes(self) -> NDArray[np.int32]:
        """(H, W) each pixel's color as one number."""
        with opened_mask(self.path, name=self.path) as image:
            pixels = np.asarray(image.convert("RGB"), np.int32)
        return np.asarray(pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2], np.int32)


def has_colors(path: str | Path, table: ColorTable) -> bool:
    """Whether the pixels of a mask file are colors of a table, not class indices; False if it cannot be opened."""
    try:
        with opened_mask(path, name=str(path)) as image:
            if image.mode == "P":  # class indices if the palette is of one color
                colors = image.getpalette() or []
                return len({tuple(colors[start : start + 3]) for start in range(0, len(colors), 3)}) > 1
            return image.mode in ("RGB", "RGBA") or (image.mode in ("L", "1") and table.is_gray)
    except DataError:
        return False


def find_color_table(root: Path) -> ColorTable | None:
    """The color table in a folder, in CVAT's form `name:r,g,b::` or as CSV with columns name, r, g, b.

    Raises:
        DataError: The table is broken.
    """
    path = next((root / name for name in COLOR_TABLES if (root / name).is_file()), None)
    if path is None:
        return None
    rows = _read_csv_table(path) if path.suffix == ".csv" else _read_label_map(path)
    return make_color_table(rows, path)


def make_color_table(rows: Sequence[tuple[str, ClassColor]], path: Path) -> ColorTable:
    """A table of class names and colors; names of background and ignored regions are no classes.

    Raises:
        DataError: A color or a name occurs twice, or there is no class.
    """
    names = [name for name, _ in rows if name.lower() not in BACKGROUND_NAMES | _VOID_NAMES]
    labels = {name: label for label, name in enumerate(names, 1)}
    values: dict[ClassColor, int] = {}
    for name, color in rows:
        if color in values:
            raise DataError(f"{path}: expected a color of its own for each class, got {color} twice")
        values[color] = labels.get(name, IGNORE_INDEX if name.lower() in _VOID_NAMES else 0)
    if not names or len(labels) < len(names) or len(names) >= IGNORE_INDEX:
        raise DataError(f"{path}: expected 1 to 254 unique class names, got {len(names)}")
    if 0 not in values.values():
        values.setdefault((0, 0, 0), 0)
    values.setdefault(_VOID, IGNORE_INDEX)
    return ColorTable(tuple(names), tuple(values.items()))


def _read_label_map(path: Path) -> list[tuple[str, ClassColor]]:
    rows = []
    for number, line in enumerate(read_text(path, limit=_MAX_TABLE).splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        words = text.split(":") if ":" in text else text.split()
        name, values = (words[0], words[1]) if ":" in text else (" ".join(words[3:]), ",".join(words[:3]))
        rows.append((name.strip(), _parse_color(values.split(","), f"{path}:{number}")))
    return rows


def _read_csv_table(path: Path) -> list[tuple[str, ClassColor]]:
    rows = []
    for number, row in enumerate(read_csv(path), 2):
        lower: Mapping[str, str] = {key.lower(): value for key, value in row.items()}
        name = lower.get("name") or lower.get("class") or lower.get("label") or ""
        rows.append((name, _parse_color([lower.get(key, "") for key in "rgb"], f"{path}:{number}")))
    return rows


def _parse_color(words: Sequence[str], where: str) -> ClassColor:
    try:
        red, green, blue = (int(word) for word in words)
    except ValueError as error:
        raise DataError(f"{where}: expected a color as three numbers, got '{','.join(words)}'") from error
    if not all(0 <= value <= 255 for value in (red, green, blue)):
        raise DataError(f"{where}: expected a color of numbers 0 to 255, got '{','.join(words)}'")
    return red, green, blue


def _coded(table: ColorTable) -> list[tuple[int, int]]:
    return [(r << 16 | g << 8 | b, value) for (r, g, b), value in table.colors]


def _color(code: int) -> ClassColor:
    return int(code) >> 16, int(code) >> 8 & 255, int(code) & 255
