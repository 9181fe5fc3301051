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


def test_a_shot_is_a_image_and_its_jpeg(image_source: Path) -> None:
    one = load_bench_image(image_source, (30, 40))
    assert one.pixels.shape == (30, 40, 3)
    with Image.open(BytesIO(one.jpeg)) as image:
        assert (image.format, image.size) == ("JPEG", (40, 30))
        assert np.abs(np.asarray(image).astype(int) - one.pixels).mean() < 10
    assert load_bench_image(image_source).pixels.shape[0] > 30


def test_every_stage_has_its_time(image: Path) -> None:
    engine = SlowEngine(random_outputs())
    times = time_stages(Predictor(engine), load_bench_image(image, (50, 70)))
    assert tuple(times) == STAGES
    assert all(value > 0 for value in times.values())
    assert times["network"] >= 1000 * SLOW
    assert times["total"] >= 1000 * SLOW
    assert times["resize"] < times["total"]
    assert [fed.shape for fed in engine.fed] == [(1, *SPEC.size, 3)] * 2
    assert np.array_equal(engine.fed[0], engine.fed[1])


def test_a_model_without_class_map_has_no_mask(image: Path) -> None:
    outputs = random_outputs()
    engine = FakeEngine(Outputs(outputs.offsets, outputs.logits, None), replace(SPEC, tasks=("detection",)))
    times = time_stages(Predictor(engine), load_bench_image(image, (50, 70)))
    assert tuple(times) == tuple(stage for stage in STAGES if stage != "mask")
    assert "mask" not in latencies([times])


def test_a_stream_takes_its_time_for_each_image() -> None:
    predictor = Predictor(SlowEngine(random_outputs()))
    images = [np.zeros((30, 40, 3), np.uint8)] * 5
    assert 1e3 * SLOW < time_stream(predictor, images) < 10e3 * SLOW
    with pytest.raises(UsageError, match="a stream of no images takes no time"):
        time_stream(predictor, [])


def test_timed_gives_the_answer() -> None:
    answer, milliseconds = timed(lambda: sleep(SLOW) or "done")  # type: ignore[func-returns-value]
    assert answer == "done"
    assert 1000 * SLOW <= milliseconds < 100_000 * SLOW


@pytest.mark.parametrize("values", [[3.0], [1.0, 2.0, 10.0], list(range(1, 102))])
def test_median_and_95th_percentile(values: Sequence[float]) -> None:
    found = latency(values)
    assert found.median == statistics.median(values)
    if len(values) == 101:
        assert found.p95 == 96
    assert found.median <= found.p95 <= max(values)
    assert found.per_second == 1000 / found.median


def test_spreads_are_by_stage() -> None:
    found = latencies([{"network": 1.0, "total": 2.0}, {"network": 3.0, "total": 4.0}])
    assert {stage: one.median for stage, one in found.items()} == {"network": 2.0, "total": 3.0}
    assert found["network"] == Latency(2.0, 2.9)


def test_memory_is_the_most_there_ever_was() -> None:
    before = peak_memory()
    block = np.ones(200_000_000, np.uint8)
    held = peak_memory()
    del block
    assert held >= 150_000_000
    assert peak_memory() >= 0.99 * held  # the kernel counts a little late
    assert held >= before


def test_version_of_an_engines_library() -> None:
    import onnxruntime

    assert library_version("onnxruntime") == onnxruntime.__version__
    assert library_version("onnxruntime-cuda") == onnxruntime.__version__
    assert library_version("nothing") == ""
