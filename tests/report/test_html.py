from collections.abc import Sequence
from html.parser import HTMLParser

import numpy as np
import pytest

from blitznet.core.errors import BlitzNetError
from blitznet.report.blocks import Bar, Bars, Folded, Grid, Heat, HtmlBlock, Pair, Pairs, data_url
from blitznet.report.charts import Chart, Charts, Column, Dot
from blitznet.report.html import Section, page

EMPTY = {"meta", "img"}
"""elements without an end"""
EVIL = "<b>&\"'</b>"


class Read(HTMLParser):
    """A page as a browser sees it: elements, texts, attributes; refuses ends that close nothing."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


PICTURE = np.full((30, 40, 3), 90, np.uint8)
PARTS: dict[str, HtmlBlock] = {
    "grid": Grid((EVIL, "x"), [(EVIL, EVIL)], EVIL),
    "heat": Heat(EVIL, ("background", EVIL), np.array([[1, 3], [0, 2]]), EVIL),
    "bars": Bars((EVIL, EVIL), [Bar(EVIL, (EVIL,), 0.5, EVIL)]),
    "pairs": Pairs([Pair(EVIL, EVIL, (PICTURE, PICTURE)), Pair(EVIL, EVIL, None)]),
    "folded": Folded(EVIL, Grid((EVIL,), [])),
    "chart": Charts(
        [
            Chart(
                title=EVIL,
                note=EVIL,
                across=EVIL,
                up=EVIL,
                steps=[(0.5, 1)],
                dots=[Dot(0.5, 1, EVIL)],
                columns=[Column(0, 0.1, 0.5, EVIL)],
                diagonal=True,
            )
        ]
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_names_and_texts_are_escaped(name: str) -> None:
    text = page(EVIL, EVIL, [Section(EVIL, EVIL, [PARTS[name]])])
    seen = Read(text)
    assert "b" not in seen.elements
    assert sum(told.strip() == EVIL for told in seen.texts) >= 5
    assert {attribute for attribute, _ in seen.attributes}.isdisjoint({"b", "onclick"})


def test_nothing_comes_from_elsewhere_and_nothing_runs() -> None:
    seen = Read(page("all", "", [Section("one", "", list(PARTS.values()))]))
    assert "script" not in seen.elements
    assert "link" not in seen.elements
    addresses = [value for name, value in seen.attributes if name in ("src", "href", "srcset", "data", "action")]
    assert {value.split(",")[0] for value in addresses} == {"#s0", "data:image/jpeg;base64"}
    assert "url(" not in "".join(seen.texts)
    assert "@import" not in "".join(seen.texts)


def test_links_lead_to_the_sections() -> None:
    text = page("all", "", [Section("one", "", []), Section("two", "", [])])
    attributes = Read(text).attributes
    assert [value for name, value in attributes if name == "href"] == ["#s0", "#s1"]
    assert [value for name, value in attributes if name == "id"] == ["s0", "s1"]
    assert "prefers-color-scheme:dark" in text


def test_a_heat_map_says_shares_of_rows_and_counts() -> None:
    text = Heat("Boxes", ("cat", "dog"), np.array([[1, 3], [0, 0]]), "boxes").html()
    assert '<td style="--v:0.250" title="cat predicted as cat: 1 of 4 boxes, 25.0 %">25</td>' in text
    assert '<td class="dark" style="--v:0.750" title="cat predicted as dog: 3 of 4 boxes, 75.0 %">75</td>' in text
    assert text.endswith('<tr><th scope="row">dog</th><td></td><td></td></tr></tbody></table></div>')


def test_a_heat_map_of_another_size_is_refused() -> None:
    with pytest.raises(BlitzNetError, match="heat map: expected shape"):
        Heat("Boxes", ("cat",), np.zeros((2, 2), np.int64), "boxes").html()


def test_tables_can_be_scrolled_by_keys() -> None:
    for name in ("grid", "heat", "bars"):
        assert ("tabindex", "0") in Read(PARTS[name].html()).attributes


def test_bars_stay_inside() -> None:
    widths = [("style", f"width:{width}%") for width in ("0.0", "50.0", "100.0")]
    bars = Bars(("a",), [Bar("x", (), share) for share in (-0.1, 0.5, 1.5)])
    assert [pair for pair in Read(bars.html()).attributes if pair[0] == "style"] == widths


def test_the_steps_of_a_curve() -> None:
    """Up to recall 0.25 at 1, from there at 0.5 as far as 0.75: two points of one height are one line."""
    text = Chart("", "", "", "", steps=[(0.25, 1), (0.5, 0.5), (0.75, 0.5)]).html()
    assert 'd="M0 100H0V0H25V50H75V100"' in text


def test_pictures_are_small_jpegs_inside_the_page() -> None:
    assert len(data_url(PICTURE)) < 1200
    sizes = [pair for pair in Read(PARTS["pairs"].html()).attributes if pair[0] in ("width", "height")]
    assert sizes == [("width", "40"), ("height", "30")] * 2
