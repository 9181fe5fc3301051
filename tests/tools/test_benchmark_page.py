"""The speed page contains what the commands wrote."""

import json
from pathlib import Path

from tools.benchmark_page import Options, main

ORIGIN = {
    "date": "2026-11-22T20:09:09+00:00",
    "machine": {"processor": "Chip", "cores": 2, "threads": 2, "system": "Linux"},
    "versions": {"python": "3.11", "numpy": "2.4"},
}


def test_page_contains_tables_and_goals(tmp_path: Path) -> None:
    stages = {"network": {"median": 1.0, "p95": 2.5}, "total": {"median": 4.0, "p95": 5.0}}
    row = {
        "model": "small",
        "engine": "openvino 1",
        "precision": "int8",
        "frames_per_second": 250.0,
        "streamed_per_second": 320.0,
        "peak_memory": 99.6,
    }
    rows = [{**row, "stages": stages}, {**row, "stages": {"total": stages["total"]}}]
    bench = {**ORIGIN, "command": "blitznet bench", "threads": 2, "images": 3, "image_size": "500x375", "rows": rows}
    benchmark = {
        **ORIGIN,
        "command": "python run.py",
        "options": {"threads": 1},
        "engines": {"openvino": "2026"},
        "tables": [{"title": "both", "columns": ["", "ms"], "rows": [["a", "1"]], "notes": ["all images"]}],
        "goals": [
            {"what": "speed", "goal": ">= 1", "measured": "2", "met": True},
            {"what": "memory", "goal": "<= 1", "measured": "2", "met": False},
        ],
    }
    paths = (tmp_path / "bench.json", tmp_path / "run.json")
    for path, result in zip(paths, (bench, benchmark), strict=True):
        path.write_text(json.dumps(result))
    out = tmp_path / "page.md"
    main(Options(paths, out))
    text = out.read_text(encoding="utf-8")
    assert "## blitznet bench\n\n2026-11-22; Chip, 2 cores, Linux; threads: 2; python 3.11, numpy 2.4.\n" in text
    assert "| small | openvino 1 | int8 | 1.00 / 2.50 | 4.00 / 5.00 | 250.0 | 320.0 | 100 |\n" in text
    assert "| small | openvino 1 | int8 | - | 4.00 / 5.00 | 250.0 | 320.0 | 100 |\n" in text
    assert "threads: 1; python 3.11, numpy 2.4, openvino 2026." in text
    assert "**Both**\n\n|  | ms |\n| --- | ---: |\n| a | 1 |\n\nAll images.\n" in text
    assert "| speed | >= 1 | 2 | met |" in text
    assert "| memory | <= 1 | 2 | **missed** |" in text
    assert "![Frames per second against accuracy](../images/speed.png)" in text
