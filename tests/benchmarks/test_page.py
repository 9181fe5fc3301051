import json
from pathlib import Path

from page import Options, main

WHERE = {
    "date": "2026-11-22T20:09:09+00:00",
    "machine": {"processor": "Chip", "cores": 2, "of": 2, "system": "Linux"},
    "versions": {"python": "3.11", "numpy": "2.4"},
}


def test_the_page_is_what_the_commands_wrote(tmp_path: Path) -> None:
    stages = {"network": {"median": 1.0, "p95": 2.5}, "total": {"median": 4.0, "p95": 5.0}}
    lone = {"total": stages["total"]}
    shared = {
        "model": "small",
        "engine": "openvino 1",
        "precision": "int8",
        "frames_per_second": 250.0,
        "streamed_per_second": 320.0,
        "peak_memory": 99.6,
    }
    rows = [{**shared, "stages": stages}, {**shared, "stages": lone}]
    bench = {**WHERE, "command": "blitznet bench", "threads": 2, "images": 3, "image_size": "500x375", "rows": rows}
    other = {
        **WHERE,
        "command": "python peers.py",
        "options": {"threads": 1},
        "engines": {"openvino": "2026"},
        "tables": [{"title": "both", "columns": ["", "ms"], "rows": [["a", "1"]], "notes": ["all of it"]}],
        "verdicts": [{"what": "speed", "wanted": ">= 1", "measured": "2", "holds": True}],
    }
    (tmp_path / "bench.json").write_text(json.dumps(bench))
    (tmp_path / "peers.json").write_text(json.dumps(other))
    out = tmp_path / "page.md"
    main(Options((tmp_path / "bench.json",), (tmp_path / "peers.json",), Path("docs/a.png"), out))
    said = out.read_text(encoding="utf-8")
    assert "## blitznet bench\n\n2026-11-22; Chip, 2 cores, Linux; threads: 2; python 3.11, numpy 2.4.\n" in said
    assert "| small | openvino 1 | int8 | 1.00 / 2.50 | 4.00 / 5.00 | 250.0 | 320.0 | 100 |\n" in said
    assert "| small | openvino 1 | int8 | - | 4.00 / 5.00 | 250.0 | 320.0 | 100 |\n" in said
    assert "threads: 1; python 3.11, numpy 2.4, openvino 2026." in said
    assert "**both**\n\n|  | ms |\n| --- | ---: |\n| a | 1 |\n\nAll of it.\n" in said
    assert "| speed | >= 1 | 2 | holds |" in said
    assert "![Frames per second against accuracy](a.png)" in said
