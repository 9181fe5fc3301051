from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from blitznet.drawing import text
from blitznet.drawing.text import FONT, draw_text, text_height, text_width


@pytest.fixture
def without_system_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_other_fonts", tuple)
    monkeypatch.setattr(text, "_font_of", text._font_of.__wrapped__)


def drawn(label: str, size: int = 24) -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
    image = Image.new("L", (600, 60))
    draw_text(ImageDraw.Draw(image), (4, 4), label, size, 255)  # type: ignore[arg-type]
    return np.asarray(image)


@pytest.mark.usefixtures("without_system_fonts")
@pytest.mark.parametrize(
    "name", ["Fußgänger", "café", "señal", "человек", "Παράθυρο", "Łódź", "ľad", "người đi bộ", "київ"]
)
def test_latin_greek_and_cyrillic_letters_are_in_the_package(name: str) -> None:
    assert "".join(part for _, part in text._runs(name)) == name
    assert {path for path, _ in text._runs(name)} == {FONT}
    assert (drawn(name) != drawn("\uffff" * len(name))).any()


@pytest.mark.usefixtures("without_system_fonts")
def test_a_character_that_no_font_has_is_its_code_point() -> None:
    assert "".join(part for _, part in text._runs("人 a")) == "U+4EBA a"


def test_a_font_of_the_system_draws_what_the_package_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"no font")
    second_font = tmp_path / "Other.ttf"
    second_font.write_bytes(FONT.read_bytes())
    reduced = lambda path, character: path == second_font or (path == FONT and character.isascii())  # noqa: E731
    monkeypatch.setattr(text, "_other_fonts", lambda: (broken, second_font))
    monkeypatch.setattr(text, "_font_of", text._font_of.__wrapped__)
    assert text._has(broken, "a") is False
    monkeypatch.setattr(text, "_has", reduced)
    assert list(text._runs("caña")) == [(FONT, "ca"), (second_font, "ñ"), (FONT, "a")]
    assert text_width("caña", 20) == pytest.approx(ImageFont.truetype(str(FONT), 20).getlength("caña"), abs=1)


def test_the_users_font_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BLITZNET_FONT", str(tmp_path / "Mine.ttf"))
    assert text._other_fonts.__wrapped__()[0] == tmp_path / "Mine.ttf"


@pytest.mark.parametrize("name", ["two\nlines", "tab\tand\r", "\x00", ""])
def test_control_characters_are_spaces(name: str) -> None:
    assert drawn(name).shape == (60, 600)
    assert text_width(name, 20) >= 0
    assert not any(character in "".join(part for _, part in text._runs(name)) for character in "\n\t\r\x00")


@pytest.mark.parametrize("size", [8, 14, 40])
def test_text_is_inside_its_height(size: int) -> None:
    image = drawn("ÅÉgjpç", size)
    rows = np.flatnonzero(image.any(1))
    assert rows[0] >= 3
    assert rows[-1] < 4 + text_height(size) + 1


def test_the_font_is_small() -> None:
    assert FONT.stat().st_size < 130_000
    assert (FONT.parent / "LICENSE_DEJAVU").is_file()
