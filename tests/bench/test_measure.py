from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blitznet.bench.measure import STREAM_REPEATS, BenchCase, BenchRound, open_case, summarize
from blitznet.bench.timing import STAGES
from blitznet.runtime.predictor import Predictor
from support.fake_engines import FakeEngine, random_outputs


def measured(total: float, stream: float) -> BenchRound:
    times = [dict.fromkeys(STAGES, 1.0) | {"total": total}]
    return BenchRound("small", "fake 1.0", "float32", times, stream, 50_000_000)


def test_open_case_measures_stages_and_stream(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(np.zeros((30, 20, 3), np.uint8)).save(path)
    engine = FakeEngine(random_outputs())
    case = BenchCase("small.onnx", "onnxruntime", 1, (path,), (60, 40))
    result = open_case(case, lambda model, *, engine, threads: Predictor(FakeEngine(random_outputs())))()
    assert (result.model, result.engine, result.precision) == ("small", "fake", "float32")
    assert [tuple(times) for times in result.times] == [STAGES]
    assert result.stream_milliseconds > 0
    assert result.peak_memory > 1_000_000
    counted = open_case(case, lambda model, **_: Predictor(engine))
    counted()
    assert len(engine.batches) == 2 + STREAM_REPEATS


def test_summarize_takes_medians_over_rounds() -> None:
    row = summarize([measured(4.0, 2.0), measured(5.0, 4.0), measured(10.0, 5.0)])
    assert row.samples == 3
    assert row.stages["total"].median == 5
    assert row.frames_per_second == pytest.approx(200)
    assert row.streamed_per_second == pytest.approx(250)
    assert row.peak_memory == pytest.approx(50)
