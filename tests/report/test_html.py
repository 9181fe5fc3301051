from collections.abc import Sequence
from html.parser import HTMLParser

import numpy as np
import pytest

from blitznet.core.errors import BlitzNetError
from blitznet.report.blocks import (
    Bar,
    BarChart,
    Details,
    HeatMap,
    HtmlBlock,
    HtmlTable,
    ImagePair,
    ImagePairs,
    data_url,
)
from blitznet.report.charts import Chart, ChartGrid, HistogramBar, Point
from blitznet.report.html import Section, html_page

EMPTY = {"meta", "img"}
"""elements without a closing tag"""
MARKUP = "<b>&\"'</b>"


class ParsedPage(HTMLParser):
    """Elements, texts and attributes of a page; requires that closing tags match."""

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


IMAGE = np.full((30, 40, 3), 90, np.uint8)
BLOCKS: dict[str, HtmlBlock] = {
    "table": HtmlTable((MARKUP, "x"), [(MARKUP, MARKUP)], MARKUP),
    "heat": HeatMap(MARKUP, ("background", MARKUP), np.array([[1, 3], [0, 2]]), MARKUP),
    "bars": BarChart((MARKUP, MARKUP), [Bar(MARKUP, (MARKUP,), 0.5, MARKUP)]),
    "pairs": ImagePairs([ImagePair(MARKUP, MARKUP, (IMAGE, IMAGE)), ImagePair(MARKUP, MARKUP, None)]),
    "details": Details(MARKUP, HtmlTable((MARKUP,), [])),
    "chart": ChartGrid(
        [
            Chart(
                title=MARKUP,
                note=MARKUP,
                x_label=MARKUP,
                y_label=MARKUP,
                steps=[(0.5, 1)],
                points=[Point(0.5, 1, MARKUP)],
                bars=[HistogramBar(0, 0.1, 0.5, MARKUP)],
                diagonal=True,
            )
        ]
    ),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_names_and_texts_are_escaped(name: str) -> None:
    text = html_page(MARKUP, MARKUP, [Section(MARKUP, MARKUP, [BLOCKS[name]])])
    parsed = ParsedPage(text)
    assert "b" not in parsed.elements
    assert sum(text.strip() == MARKUP for text in parsed.texts) >= 5
    assert {attribute for attribute, _ in parsed.attributes}.isdisjoint({"b", "onclick"})


def test_page_has_no_scripts_and_no_external_files() -> None:
    parsed = ParsedPage(html_page("all", "", [Section("one", "", list(BLOCKS.values()))]))
    assert "script" not in parsed.elements
    assert "link" not in parsed.elements
    addresses = [value for name, value in parsed.attributes if name in ("src", "href", "srcset", "data", "action")]
    assert {value.split(",")[0] for value in addresses} == {"#s0", "data:image/jpeg;base64"}
    assert "url(" not in "".join(parsed.texts)
    assert "@import" not in "".join(parsed.texts)


def test_navigation_links_to_the_sections() -> None:
    text = html_page("all", "", [Section("one", "", []), Section("two", "", [])])
    attributes = ParsedPage(text).attributes
    assert [value for name, value in attributes if name == "href"] == ["#s0", "#s1"]
    assert [value for name, value in attributes if name == "id"] == ["s0", "s1"]
    assert "prefers-color-scheme:dark" in text


def test_heat_map_has_percentages_and_counts() -> None:
    text = HeatMap("Boxes", ("cat", "dog"), np.array([[1, 3], [0, 0]]), "boxes").html()
    assert '<td style="--v:0.250" title="cat predicted as cat: 1 of 4 boxes, 25.0 %">25</td>' in text
    assert '<td class="dark" style="--v:0.750" title="cat predicted as dog: 3 of 4 boxes, 75.0 %">75</td>' in text
    assert text.endswith('<tr><th scope="row">dog</th><td></td><td></td></tr></tbody></table></div>')


def test_heat_map_of_another_size_is_refused() -> None:
    with pytest.raises(BlitzNetError, match="heat map: expected shape"):
        HeatMap("Boxes", ("cat",), np.zeros((2, 2), np.int64), "boxes").html()


def test_tables_can_be_scrolled_by_the_keyboard() -> None:
    for name in ("table", "heat", "bars"):
        assert ("tabindex", "0") in ParsedPage(BLOCKS[name].html()).attributes


def test_bar_lengths_are_clipped() -> None:
    widths = [("style", f"width:{width}%") for width in ("0.0", "50.0", "100.0")]
    bars = BarChart(("a",), [Bar("x", (), share) for share in (-0.1, 0.5, 1.5)])
    assert [pair for pair in ParsedPage(bars.html()).attributes if pair[0] == "style"] == widths


def test_steps_of_a_curve() -> None:
    """Two steps of equal height are one line."""
    text = Chart("", "", "", "", steps=[(0.25, 1), (0.5, 0.5), (0.75, 0.5)]).html()
    assert 'd="M0 100H0V0H25V50H75V100"' in text


def test_images_are_small_jpegs_inside_the_page() -> None:
    assert len(data_url(IMAGE)) < 1200
    sizes = [pair for pair in ParsedPage(BLOCKS["pairs"].html()).attributes if pair[0] in ("width", "height")]
    assert sizes == [("width", "40"), ("height", "30")] * 2
