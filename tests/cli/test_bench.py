import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blitznet.bench.timing import STAGES
from blitznet.cli.bench import Bench, run
from blitznet.cli.main import main
from blitznet.core.errors import BlitzNetError, DataError, UsageError
from support.fake_engines import write_onnx


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model's file in the working folder."""
    monkeypatch.chdir(tmp_path)
    write_onnx(Path("small.onnx"))
    return "small.onnx"


def test_two_engines_in_one_table(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.full((30, 20, 3), 90, np.uint8)).save("a.png")
    out = Path("deep/bench.json")
    options = Bench((model,), ("onnxruntime", "openvino"), "60x40", ("a.png",), rounds=2, threads=1, json=out)
    assert run(options) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert all(stage in lines[0] for stage in (*STAGES, "frames/s", "stream/s", "MB"))
    assert lines[1].split()[:2] == ["small", "onnxruntime"]
    assert lines[2].split()[:2] == ["small", "openvino"]
    assert "1 images of 60x40, batch 1, threads: 1" in said
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["machine"].keys() == {"processor", "cores", "of", "system"}
    assert found["versions"].keys() == {"python", "blitznet", "numpy", "pillow"}
    assert (found["threads"], found["images"], found["image_size"]) == (1, 1, "60x40")
    for row, engine in zip(found["rows"], ("onnxruntime", "openvino"), strict=True):
        name, number = row["engine"].split()
        assert name == engine
        assert number[0].isdigit()
        assert (row["model"], row["precision"], row["samples"]) == ("small", "float32", 2)
        assert tuple(row["stages"]) == STAGES
        assert all(0 < stage["median"] <= stage["p95"] for stage in row["stages"].values())
        assert 0 < row["streamed_per_second"] < 10_000
        assert row["frames_per_second"] == pytest.approx(1000 / row["stages"]["total"]["median"])
        assert 10 < row["peak_memory"] < 2000


@pytest.mark.parametrize("text", ["500", "500x", "x375", "500x375x3", "0x375", "-5x3", "axb", "٣x٣"])
def test_sizes_that_are_none(model: str, text: str) -> None:
    with pytest.raises(UsageError, match=f"--image-size: expected .*, got '{text}'"):
        run(Bench((model,), image_size=text))


def test_what_cannot_be_timed(model: str) -> None:
    with pytest.raises(UsageError, match="--rounds: expected 1 or more, got 0"):
        run(Bench((model,), rounds=0))
    with pytest.raises(UsageError, match="threads: expected 1 or more, got 0"):
        run(Bench((model,), threads=0))
    with pytest.raises(DataError, match=r"nothing\.jpg: there is no such file"):
        run(Bench((model,), images=("nothing.jpg",)))
    with pytest.raises(BlitzNetError, match=r"missing\.onnx: there is no such model file"):
        run(Bench(("missing.onnx",)))


def test_engines_that_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--engine", "steam"]) == 2
    assert "--engine" in capsys.readouterr().err
