import statistics
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from time import sleep

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from blitznet.bench.timing import (
    STAGES,
    Latency,
    latencies,
    latency,
    library_version,
    load_bench_image,
    peak_memory,
    time_stages,
    time_stream,
    timed,
)
from blitznet.core.errors import UsageError
from blitznet.core.outputs import NmsOutputs, Outputs
from blitznet.runtime.image_paths import find_images
from blitznet.runtime.predictor import Predictor
from support.fake_engines import SPEC, FakeEngine, random_outputs

SLOW = 0.02


class SlowEngine(FakeEngine):
    def run(self, images: NDArray[np.uint8]) -> Outputs | NmsOutputs:
        sleep(SLOW)
        return super().run(images)


@pytest.fixture
def image() -> Path:
    return find_images()[0]


def test_bench_image_has_pixels_and_jpeg(image: Path) -> None:
    bench_image = load_bench_image(image, (30, 40))
    assert bench_image.pixels.shape == (30, 40, 3)
    with Image.open(BytesIO(bench_image.jpeg)) as decoded:
        assert (decoded.format, decoded.size) == ("JPEG", (40, 30))
        assert np.abs(np.asarray(decoded).astype(int) - bench_image.pixels).mean() < 10
    assert load_bench_image(image).pixels.shape[0] > 30


def test_time_stages_measures_every_stage(image: Path) -> None:
    engine = SlowEngine(random_outputs())
    times = time_stages(Predictor(engine), load_bench_image(image, (50, 70)))
    assert tuple(times) == STAGES
    assert all(value > 0 for value in times.values())
    assert times["network"] >= 1000 * SLOW
    assert times["total"] >= 1000 * SLOW
    assert times["resize"] < times["total"]
    assert [batch.shape for batch in engine.batches] == [(1, *SPEC.size, 3)] * 2
    assert np.array_equal(engine.batches[0], engine.batches[1])


def test_time_stages_of_a_model_without_segmentation(image: Path) -> None:
    outputs = random_outputs()
    engine = FakeEngine(Outputs(outputs.offsets, outputs.logits, None), replace(SPEC, tasks=("detection",)))
    times = time_stages(Predictor(engine), load_bench_image(image, (50, 70)))
    assert tuple(times) == tuple(stage for stage in STAGES if stage != "class map")
    assert "class map" not in latencies([times])


def test_time_stream_is_per_image() -> None:
    predictor = Predictor(SlowEngine(random_outputs()))
    images = [np.zeros((30, 40, 3), np.uint8)] * 5
    assert 1e3 * SLOW < time_stream(predictor, images) < 10e3 * SLOW
    with pytest.raises(UsageError, match=r"^images: expected at least 1 to time a stream, got 0"):
        time_stream(predictor, [])


def test_timed_returns_value_and_milliseconds() -> None:
    value, milliseconds = timed(lambda: sleep(SLOW) or "done")  # type: ignore[func-returns-value]
    assert value == "done"
    assert 1000 * SLOW <= milliseconds < 100_000 * SLOW


@pytest.mark.parametrize("values", [[3.0], [1.0, 2.0, 10.0], list(range(1, 102))])
def test_latency_has_median_and_95th_percentile(values: Sequence[float]) -> None:
    summary = latency(values)
    assert summary.median == statistics.median(values)
    if len(values) == 101:
        assert summary.p95 == 96
    assert summary.median <= summary.p95 <= max(values)
    assert summary.per_second == 1000 / summary.median


def test_latencies_are_by_stage() -> None:
    stages = latencies([{"network": 1.0, "total": 2.0}, {"network": 3.0, "total": 4.0}])
    assert {stage: summary.median for stage, summary in stages.items()} == {"network": 2.0, "total": 3.0}
    assert stages["network"] == Latency(2.0, 2.9)


def test_peak_memory_does_not_decrease() -> None:
    before = peak_memory()
    block = np.ones(200_000_000, np.uint8)
    peak = peak_memory()
    del block
    assert peak >= 150_000_000
    assert peak_memory() >= 0.99 * peak  # the kernel's counter lags
    assert peak >= before


def test_library_version() -> None:
    import onnxruntime

    assert library_version("onnxruntime") == onnxruntime.__version__
    assert library_version("onnxruntime-cuda") == onnxruntime.__version__
    assert library_version("nothing") == ""
