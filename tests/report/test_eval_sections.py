import numpy as np
import pytest

from blitznet.core.sample import Sample
from blitznet.postprocess.result import Result
from blitznet.report.blocks import Bars, Folded, Grid, Heat
from blitznet.report.charts import Charts
from blitznet.report.eval_sections import percent, sections
from blitznet.report.html import Section
from support.metric_cases import SIDE, drawn, evidence_of, result, sample

A, B, CLEAR = (10, 10, 30, 30), (40, 40, 80, 80), (80, 0, 95, 9)


def shown(*pairs: tuple[Result, Sample]) -> dict[str, Section]:
    return {section.title: section for section in sections(evidence_of(pairs))}


def test_curves_say_what_a_score_gives() -> None:
    """Right at 0.8, wrong at 0.6, right at 0.2: nothing has 0.9, and from 0.5 on half is right."""
    found = result([A, CLEAR, B], [0, 0, 0], [0.8, 0.6, 0.2])
    charts, folded = shown((found, sample("a", [A, B], [0, 0])))["Precision and recall"].parts
    assert isinstance(charts, Charts)
    chart = charts.charts[0]
    assert (chart.title, chart.note) == ("cat", "AP50 83.3, objects: 2")
    assert [(dot.x, dot.y) for dot in chart.dots] == [
        *((0.5, 1), (0.5, 0.5), (0.5, 0.5)),
        (1, pytest.approx(2 / 3)),
    ]
    assert chart.steps == [(0.5, 1), (1, pytest.approx(2 / 3))]
    assert isinstance(folded, Folded)
    assert isinstance(folded.part, Grid)
    assert folded.part.rows == [
        ("cat", "83.3", "-", "100.0 / 50.0", "50.0 / 50.0", "50.0 / 50.0", "66.7 / 100.0"),
    ]


def test_the_hardest_class_comes_first() -> None:
    truth = sample("a", [A, B], [0, 1])
    charts, _ = shown((result([A], [0], [0.8]), truth))["Precision and recall"].parts
    assert isinstance(charts, Charts)
    assert [chart.title for chart in charts.charts] == ["dog", "cat"]


def test_bars_are_as_long_as_what_is_gained() -> None:
    found = result([(10, 10, 30, 19), CLEAR, B], [0, 1, 1], [0.9, 0.8, 0.7])
    (bars,) = shown((found, sample("a", [A, B], [0, 1])))["Kinds of error"].parts
    assert isinstance(bars, Bars)
    told = {bar.name: (*bar.told, bar.share) for bar in bars.bars}
    assert told["localisation"] == ("+50.0", "1", 1)
    assert told["background"] == ("+25.0", "1", pytest.approx(0.5))
    assert told["missed"] == ("+0.0", "0", 0)


def test_classes_without_anything_are_left_out_of_heat_maps() -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:50] = 2
    found = shown((result([A], [1], [0.9], class_map=mask), sample("a", [A], [1], mask=mask)))
    (boxes,), (pixels,) = found["Confusion of boxes"].parts, found["Confusion of pixels"].parts
    assert isinstance(boxes, Heat)
    assert isinstance(pixels, Heat)
    assert (boxes.names, boxes.counts.tolist()) == (("dog",), [[1]])
    assert (pixels.names, pixels.counts.tolist()) == (("background", "dog"), [[5000, 0], [0, 5000]])


def test_every_part_can_be_written() -> None:
    rng = np.random.default_rng(0)
    for section in shown(*(drawn(rng, f"{n}") for n in range(5))).values():
        assert all(part.html() for part in section.parts)


def test_only_what_was_measured_is_shown() -> None:
    assert shown((result(), sample("a", box_classes=[False] * 3))) == {}


def test_percent() -> None:
    assert [percent(value) for value in (0.1234, None, float("nan"))] == ["12.3", "-", "-"]
