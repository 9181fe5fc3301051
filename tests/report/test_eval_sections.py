import numpy as np
import pytest

from blitznet.core.sample import Sample
from blitznet.postprocess.result import Result
from blitznet.report.blocks import BarChart, Details, HeatMap, HtmlTable
from blitznet.report.charts import ChartGrid
from blitznet.report.eval_sections import sections
from blitznet.report.html import Section
from support.metric_cases import SIZE, random_case, result, sample, state_of

A, B, CLEAR = (10, 10, 30, 30), (40, 40, 80, 80), (80, 0, 95, 9)


def sections_of(*pairs: tuple[Result, Sample]) -> dict[str, Section]:
    return {section.title: section for section in sections(state_of(pairs))}


def test_curves_mark_precision_and_recall_at_thresholds() -> None:
    """True positives at 0.8 and 0.2, a false positive at 0.6."""
    predicted = result([A, CLEAR, B], [0, 0, 0], [0.8, 0.6, 0.2])
    charts, details = sections_of((predicted, sample("a", [A, B], [0, 0])))["Precision and recall"].blocks
    assert isinstance(charts, ChartGrid)
    chart = charts.charts[0]
    assert (chart.title, chart.note) == ("cat", "AP50 83.3, objects: 2")
    assert [(point.x, point.y) for point in chart.points] == [
        *((0.5, 1), (0.5, 0.5), (0.5, 0.5)),
        (1, pytest.approx(2 / 3)),
    ]
    assert chart.steps == [(0.5, 1), (1, pytest.approx(2 / 3))]
    assert isinstance(details, Details)
    assert isinstance(details.block, HtmlTable)
    assert details.block.rows == [
        ("cat", "83.3", "-", "100.0 / 50.0", "50.0 / 50.0", "50.0 / 50.0", "66.7 / 100.0"),
    ]


def test_class_with_the_lowest_ap_is_first() -> None:
    truth = sample("a", [A, B], [0, 1])
    charts, _ = sections_of((result([A], [0], [0.8]), truth))["Precision and recall"].blocks
    assert isinstance(charts, ChartGrid)
    assert [chart.title for chart in charts.charts] == ["dog", "cat"]


def test_bars_are_proportional_to_the_gain() -> None:
    predicted = result([(10, 10, 30, 19), CLEAR, B], [0, 1, 1], [0.9, 0.8, 0.7])
    (chart,) = sections_of((predicted, sample("a", [A, B], [0, 1])))["Error types"].blocks
    assert isinstance(chart, BarChart)
    bars = {bar.name: (*bar.cells, bar.length) for bar in chart.bars}
    assert bars["localization"] == ("+50.0", "1", 1)
    assert bars["background"] == ("+25.0", "1", pytest.approx(0.5))
    assert bars["missed"] == ("+0.0", "0", 0)


def test_heat_maps_leave_out_empty_classes() -> None:
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[:50] = 2
    named = sections_of((result([A], [1], [0.9], class_map=mask), sample("a", [A], [1], mask=mask)))
    (boxes,), (pixels,) = named["Confusion of boxes"].blocks, named["Confusion of pixels"].blocks
    assert isinstance(boxes, HeatMap)
    assert isinstance(pixels, HeatMap)
    assert (boxes.names, boxes.counts.tolist()) == (("dog",), [[1]])
    assert (pixels.names, pixels.counts.tolist()) == (("background", "dog"), [[5000, 0], [0, 5000]])


def test_every_block_has_html() -> None:
    rng = np.random.default_rng(0)
    for section in sections_of(*(random_case(rng, f"{n}") for n in range(5))).values():
        assert all(block.html() for block in section.blocks)


def test_sections_of_a_set_without_annotations() -> None:
    assert sections_of((result(), sample("a", box_classes=[False] * 3))) == {}
