"""Text of labels in any script.

The font of the package has Latin, Greek and Cyrillic letters. Other characters are drawn in the first font of the
system that has them, or in the font that the environment variable BLITZNET_FONT names. A character that no font has
is written as its code point, such as U+4EBA.
"""

import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from PIL import ImageDraw, ImageFont

FONT = Path(__file__).parent / "fonts" / "DejaVuSans-subset.ttf"
"""DejaVu Sans, reduced by tools/subset_font.py; LICENSE_DEJAVU beside it is its license"""
_SYSTEM_FOLDERS = {
    "win32": (r"C:\Windows\Fonts",),
    "darwin": ("/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts"),
}
_UNIX_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts")
_SUFFIXES = (".ttf", ".ttc", ".otf")
_MAX_SYSTEM_FONTS = 2000
_PROBE_SIZE = 16
"""size in pixels at which a font is asked for a character"""
_NO_CHARACTER = "\uffff"
"""a character that no font has"""


def text_width(text: str, size: int) -> float:
    """Width of a text in pixels, at a font size in pixels."""
    return sum(_load(path, size).getlength(part) for path, part in _runs(text))


@lru_cache(maxsize=64)
def text_height(size: int) -> int:
    """Height in pixels from the accents of capitals to the descenders, the same for every text."""
    return ascent(size) + round(_load(FONT, size).getbbox("gjpç", anchor="ls")[3])


@lru_cache(maxsize=64)
def ascent(size: int) -> int:
    """Height in pixels of accented capitals above the base line."""
    return -round(_load(FONT, size).getbbox("ÅÉ", anchor="ls")[1])


def draw_text(
    pen: ImageDraw.ImageDraw, position: tuple[float, float], text: str, size: int, fill: tuple[int, int, int]
) -> None:
    """Draw a text whose top left corner is at `position`."""
    x, top = position
    base_line = top + ascent(size)
    for path, part in _runs(text):
        font = _load(path, size)
        pen.text((x, base_line), part, fill=fill, font=font, anchor="ls")
        x += font.getlength(part)


def _runs(text: str) -> Iterator[tuple[Path, str]]:
    """Parts of a text with the font that draws each; line breaks and other control characters become spaces."""
    characters: list[tuple[Path, str]] = []
    for character in text:
        if not character.isprintable():
            characters.append((FONT, " "))
        elif (path := _font_of(character)) is not None:
            characters.append((path, character))
        else:
            characters.extend((FONT, letter) for letter in f"U+{ord(character):04X}")
    for path, group in groupby(characters, key=lambda item: item[0]):
        yield path, "".join(character for _, character in group)


@lru_cache(maxsize=4096)
def _font_of(character: str) -> Path | None:
    """The first font that has a character."""
    if _has(FONT, character):
        return FONT
    return next((path for path in _other_fonts() if _has(path, character)), None)


@lru_cache(maxsize=1)
def _other_fonts() -> tuple[Path, ...]:
    """The user's font and those of the system, upright sans-serif ones first."""
    folders = [Path(folder).expanduser() for folder in _SYSTEM_FOLDERS.get(sys.platform, _UNIX_FOLDERS)]
    paths: list[Path] = []
    for folder in folders:
        for root, _, names in os.walk(folder):
            paths += [Path(root, name) for name in names if name.lower().endswith(_SUFFIXES)]
    paths = sorted(paths[:_MAX_SYSTEM_FONTS], key=_preference)
    chosen = os.environ.get("BLITZNET_FONT")
    return (Path(chosen), *paths) if chosen else tuple(paths)


def _preference(path: Path) -> tuple[bool, bool, str]:
    """Sort key: regular fonts before bold and italic ones, sans-serif ones first."""
    name = path.stem.lower()
    is_styled = any(style in name for style in ("bold", "italic", "oblique", "light", "thin", "black", "mono"))
    return is_styled, "sans" not in name and "gothic" not in name, str(path)


def _has(path: Path, character: str) -> bool:
    """Whether a font draws a character; a missing one looks like `_NO_CHARACTER`, or like nothing."""
    try:
        font = _load(path, _PROBE_SIZE)
        mask = font.getmask(character)
        missing = font.getmask(_NO_CHARACTER)
    except (OSError, ValueError):  # not a font that FreeType reads
        return False
    if mask.size != missing.size or bytes(mask) != bytes(missing):
        return character.isspace() or mask.getbbox() is not None
    return False


@lru_cache(maxsize=256)
def _load(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), size)
