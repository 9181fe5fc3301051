import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks._lib.results import Table, at_least, percent, print_results, require_images, to_json, write_json


@dataclass(frozen=True)
class Options:
    root: Path = Path("data")
    share: float = 1 / 3


def test_print_results(capsys: pytest.CaptureFixture[str]) -> None:
    print_results([Table("times", ("", "ms"), [("network", "1.0")], ("one note",))], [at_least("rate", 2, 1, " Hz")])
    text = capsys.readouterr().out
    for part in ("times", "network", "1.0", "one note", "rate: 2 Hz (goal >= 1 Hz): met"):
        assert part in text


def test_write_json(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", Options(), goals=[at_least("rate", 2, 3)])
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["options"] == {"root": "data", "share": 0.333333}
    assert report["goals"] == [{"what": "rate", "goal": ">= 3", "measured": "2", "met": False}]
    assert {"command", "date", "machine", "versions"} <= report.keys()
    write_json(None, Options())


def test_values_for_json() -> None:
    assert to_json({"a": (Path("b"), 0.1234567, None)}) == {"a": ["b", 0.123457, None]}
    assert percent(0.1234) == "12.3 %"
    assert percent(None) == "-"


def test_missing_images_end_the_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require_images(tmp_path)
    with pytest.raises(SystemExit) as raised:
        require_images(tmp_path / "gone")
    assert raised.value.code == 0
    assert capsys.readouterr().out.startswith("skipped: there are no images in")
