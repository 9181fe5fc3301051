from io import StringIO

import pytest
from rich.table import Table
from rich.text import Text

from blitznet.cli.tables import TableConsole
from blitznet.metrics.report import DetectionScores, Report, SegmentationScores, SetScores
from blitznet.report.eval_tables import SCORE_COLUMNS, render_score_table

INTERVALS = {"ap50_area": (0.1, 0.9), "ap50_frequent": (0.1, 0.9), "miou": (0.1, 0.9)}
SCORES = SetScores(
    "voc:VOCdevkit/VOC2012@val",
    478,
    DetectionScores(ap50_11point=0.5, ap50_area=0.5, ap50_frequent=0.5, coco_ap=0.25, coco_ap50=0.5),
    SegmentationScores(miou=0.75),
    INTERVALS,
)


def printed(table: Table, width: int, *, terminal: bool = True) -> list[str]:
    """Lines of a table on a console."""
    file = StringIO()
    TableConsole(file=file, width=width, force_terminal=terminal, no_color=True, color_system=None).print(table)
    return file.getvalue().splitlines()


def score_table() -> Table:
    return render_score_table(Report(SCORES, (SCORES,)))


@pytest.mark.parametrize("width", [40, 80, 100, 120])
def test_narrow_terminals_get_records(width: int) -> None:
    lines = printed(score_table(), width)
    assert lines[0] == "voc:VOCdevkit/VOC2012@val"
    assert "  mIoU           75.0 (10.0 to 90.0)" in lines
    assert [line for title in SCORE_COLUMNS for line in lines if line.startswith(f"  {title} ")]
    assert lines[-1] == "percent; in brackets: 95 % intervals"
    assert "…" not in "".join(lines)


def test_wide_terminals_get_a_table() -> None:
    lines = printed(score_table(), 200)
    assert any("mIoU" in line and "box ECE" in line for line in lines)
    assert "…" not in "".join(lines)


def test_columns_that_may_be_folded_keep_a_table() -> None:
    table = Table(box=None)
    table.add_column("image", overflow="fold")
    table.add_column("detections")
    table.add_row(Text("a" * 100), "2 cat")
    assert "detections" in printed(table, 80)[0]


def test_lines_of_files_have_no_spaces_at_their_ends() -> None:
    table = Table(box=None, expand=True)
    table.add_column("a")
    table.add_row(Text("[x] 1"))
    lines = printed(table, 60, terminal=False)
    assert [line.strip() for line in lines] == ["a", "[x] 1"]
    assert lines == [line.rstrip() for line in lines]
