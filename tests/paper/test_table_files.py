"""Markdown, CSV and plot of a table."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from blitznet.metrics.bootstrap import Difference
from blitznet.paper.reproduce import TableResult
from blitznet.paper.table_files import to_csv, to_markdown, write_table
from blitznet.paper.tables import LeakProtocol, RunPlan, TableName
from support.toy_table import toy_table

SCORES = {
    ("det", "mAP"): (0.30, 0.32),
    ("joint", "mAP"): (0.31, 0.35),
    ("joint", "mIoU"): (0.40, 0.42),
    ("seg", "mIoU"): (0.39, 0.39),
}
DIFFERENCES = {("det", "mAP"): Difference(0.31, 0.33, 0.02, (-0.02, 0.06))}


@pytest.fixture
def result(tmp_path: Path) -> TableResult:
    return TableResult(RunPlan(toy_table(), tmp_path / "out", tmp_path, seeds=2), SCORES, DIFFERENCES)


def test_page_has_our_scores_beside_the_papers(result: TableResult, tmp_path: Path) -> None:
    lines = to_markdown(result).splitlines()
    assert lines[0] == "# table3: one task or both"
    head = "| row | mAP, paper | mAP, ours | frequent, ours | mIoU, paper | mIoU, ours |"
    start = lines.index(head)
    assert lines[start + 2 : start + 5] == [
        "| det | 78.9 | 31.0 (30.0 to 32.0) | – | – | – |",
        "| joint | 80.0 | 33.0 (31.0 to 35.0) | – | 72.8 | 41.0 (40.0 to 42.0) |",
        "| seg | – | – | – | 72.4 | 39.0 (39.0 to 39.0) |",
    ]
    assert lines[-1] == "| det | mAP | +1.1 | +2.0 | -2.0 to +6.0 |"
    assert "2 seeds" in lines[2]
    assert "Clean protocol" in lines[2]
    assert str(tmp_path) not in to_markdown(result)


@pytest.mark.parametrize(("name", "protocol", "expected"), [("table1", "authors", True), ("table1", "clean", False)])
def test_page_of_table1_states_that_the_protocols_are_equal(
    result: TableResult, name: TableName, protocol: LeakProtocol, expected: bool
) -> None:
    plan = replace(result.plan, table=replace(result.plan.table, name=name), protocol=protocol)
    assert ("both protocols are equal" in to_markdown(replace(result, plan=plan))) == expected


def test_csv_has_a_line_for_every_number(result: TableResult) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(result))))
    assert len(rows) == 5
    first = "table3 small clean score det mAP 78.9 31.00 30.00 32.00 2"
    assert " ".join(rows[0].values()) == first
    assert " ".join(rows[0]) == "table scale protocol kind row column paper ours low high seeds"
    assert (rows[-1]["kind"], rows[-1]["paper"], rows[-1]["ours"]) == ("difference", "1.1", "2.00")
    assert (rows[-1]["low"], rows[-1]["high"]) == ("-2.00", "6.00")


def test_files(result: TableResult) -> None:
    paths = write_table(result)
    assert [path.name for path in paths] == ["table3.md", "table3.csv", "table3.png"]
    assert paths[0].read_text() == to_markdown(result)
    assert paths[1].read_text() == to_csv(result)
    with Image.open(paths[2]) as plot:
        assert plot.width > plot.height
