import json
from pathlib import Path

from benchmarks.speed import overlay


def test_both_outputs_are_timed_in_both_ways(tmp_path: Path) -> None:
    overlay.main(overlay.Options(width=320, height=240, repeats=1, json=tmp_path / "overlay.json"))
    report = json.loads((tmp_path / "overlay.json").read_text())
    assert [row["way"] for row in report["rows"]] == ["response of the server", "file"]
    assert all(row["overlay"] > 0 and row["class_map"] > 0 for row in report["rows"])
    assert len(report["goals"]) == 2
