from rich.console import Console
from rich.table import Table

from blitznet.metrics.bootstrap import Difference
from blitznet.metrics.report import ClassScore, DetectionScores, Report, SegmentationScores, SetScores
from blitznet.report.eval_tables import render_class_table, render_difference_table, render_score_table

FIRST = SetScores(
    title="voc:a@val",
    images=3,
    detection=DetectionScores(ap50_area=0.6, calibration_error=0.05, per_class={"cat": ClassScore(score=0.6, count=2)}),
    segmentation=SegmentationScores(miou=0.4, per_class={"background": ClassScore(score=0.4, count=3)}),
    intervals={"ap50_area": (0.5, 0.7)},
)
SECOND = SetScores(title="voc:b@val", images=1)


def lines(table: Table) -> list[str]:
    console = Console(width=120, force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get().splitlines()


def test_score_table_has_a_row_for_each_set_and_the_total() -> None:
    text = lines(render_score_table(Report(total=FIRST, sets=(FIRST, SECOND))))
    rows = [line for line in text if "voc:" in line]
    assert len(rows) == 3
    assert " 60.0 " in rows[0]
    assert " (50.0 to 70.0) " in text[text.index(rows[0]) + 1]
    assert "40.0" in rows[0]
    assert " 5.0 " in rows[0]
    assert "-" in rows[1]


def test_score_table_of_one_set_has_no_total() -> None:
    table = render_score_table(Report(total=FIRST, sets=(FIRST,)))
    assert table.row_count == 1
    assert table.caption == "percent; in brackets: 95 % intervals"


def test_class_table() -> None:
    rows = [line.split("│")[1:-1] for line in lines(render_class_table(FIRST)) if line.startswith("│")]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["background", "-", "-", "3", "40.0"],
        ["cat", "2", "60.0", "-", "-"],
    ]


def test_difference_table() -> None:
    table = render_difference_table({"miou": Difference(0.4, 0.45, 0.05, (-0.01, 0.1))}, "a.jsonl", "b.jsonl")
    (row,) = [line.split("│")[1:-1] for line in lines(table) if "miou" in line]
    assert [cell.strip() for cell in row] == ["miou", "40.0", "45.0", "+5.0", "-1.0 to +10.0"]
