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
    """A model file in the working folder."""
    monkeypatch.chdir(tmp_path)
    write_onnx(Path("small.onnx"))
    return "small.onnx"


def test_bench_measures_two_engines(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.full((30, 20, 3), 90, np.uint8)).save("a.png")
    out = Path("deep/bench.json")
    options = Bench((model,), ("onnxruntime", "openvino"), (40, 60), ("a.png",), rounds=2, threads=1, json=out)
    assert run(options) == 0
    output = capsys.readouterr().out
    lines = output.splitlines()
    assert all(stage in lines[0] for stage in (*STAGES, "frames/s", "stream/s", "MB"))
    assert lines[1].split()[:2] == ["small", "onnxruntime"]
    assert lines[2].split()[:2] == ["small", "openvino"]
    assert "1 images of 60x40, batch 1, threads: 1" in output
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["machine"].keys() == {"processor", "cores", "total_cores", "system"}
    assert report["versions"].keys() == {"python", "blitznet", "numpy", "pillow"}
    assert (report["threads"], report["images"], report["image_size"]) == (1, 1, "60x40")
    for row, engine in zip(report["rows"], ("onnxruntime", "openvino"), strict=True):
        name, number = row["engine"].split()
        assert name == engine
        assert number[0].isdigit()
        assert (row["model"], row["precision"], row["samples"]) == ("small", "float32", 2)
        assert tuple(row["stages"]) == STAGES
        assert all(0 < stage["median"] <= stage["p95"] for stage in row["stages"].values())
        assert 0 < row["streamed_per_second"] < 10_000
        assert row["frames_per_second"] == pytest.approx(1000 / row["stages"]["total"]["median"])
        assert 10 < row["peak_memory"] < 2000


@pytest.mark.parametrize("imgsz", [(0,), (375, -5), (1, 2, 3), ()])
def test_invalid_imgsz_is_refused(model: str, imgsz: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="--imgsz: expected one or two sizes in pixels"):
        run(Bench((model,), imgsz=imgsz))


def test_invalid_options_are_refused(model: str) -> None:
    with pytest.raises(UsageError, match="--rounds: expected 1 or more, got 0"):
        run(Bench((model,), rounds=0))
    with pytest.raises(UsageError, match="threads: expected 1 or more, got 0"):
        run(Bench((model,), threads=0))
    with pytest.raises(DataError, match=r"nothing\.jpg: expected an image, a folder or a glob"):
        run(Bench((model,), images=("nothing.jpg",)))
    with pytest.raises(BlitzNetError, match=r"missing\.onnx: expected a model file"):
        run(Bench(("missing.onnx",)))


def test_unknown_engine_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--engine", "steam"]) == 2
    assert "--engine" in capsys.readouterr().err
