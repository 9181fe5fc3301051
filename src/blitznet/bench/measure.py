"""Measurement of a model on an engine: what one process does in a round, and the summary over all rounds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from blitznet.bench.timing import (
    Latency,
    Times,
    latencies,
    latency,
    library_version,
    load_bench_image,
    peak_memory,
    time_stages,
    time_stream,
)
from blitznet.core.arrays import Size
from blitznet.runtime.engine import EngineName
from blitznet.runtime.predictor import BasePredictor

STREAM_REPEATS = 4
"""how often a stream contains each image: enough that its first and last images, which overlap less, matter little"""


class Load(Protocol):
    """Loads a model; `blitznet.load` outside of tests."""

    def __call__(self, model: str, *, engine: EngineName, threads: int) -> BasePredictor:
        """Return the predictor of a model."""
        ...


@dataclass(frozen=True, slots=True)
class BenchCase:
    """One model on one engine, and the images to measure on."""

    model: str
    engine: EngineName
    threads: int
    images: tuple[Path, ...]
    size: Size
    """(H, W) to resize the images to before measuring, pixels"""


@dataclass(frozen=True, slots=True)
class BenchRound:
    """Measurements of one round."""

    model: str
    engine: str
    """name and version"""
    precision: str
    times: list[Times]
    """times of each image"""
    stream_milliseconds: float
    """milliseconds per image of a stream"""
    peak_memory: int
    """peak memory of the whole process, bytes"""


@dataclass(frozen=True, slots=True)
class BenchRow:
    """Measurements of one model on one engine over all rounds."""

    model: str
    engine: str
    """name and version"""
    precision: str
    samples: int
    """number of measurements of each stage"""
    stages: dict[str, Latency]
    """stage -> latency"""
    frames_per_second: float
    """images per second from array to boxes and class map, one at a time, at the median"""
    streamed_per_second: float
    """images per second of a stream with a replica on each thread, at the median over rounds"""
    peak_memory: float
    """peak memory of the whole process, MB"""


def open_case(case: BenchCase, load: Load) -> Callable[[], BenchRound]:
    """Read the images and load the model; returns the function that measures one round."""
    images = [load_bench_image(path, case.size) for path in case.images]
    predictor = load(case.model, engine=case.engine, threads=case.threads)

    def measure_round() -> BenchRound:
        engine, spec = predictor.engine, predictor.spec
        times = [time_stages(predictor, image) for image in images]
        engine_version = f"{engine.name} {library_version(engine.name)}".strip()
        stream_milliseconds = time_stream(predictor, [image.pixels for image in images] * STREAM_REPEATS)
        return BenchRound(spec.name, engine_version, spec.precision, times, stream_milliseconds, peak_memory())

    return measure_round


def summarize(rounds: Sequence[BenchRound]) -> BenchRow:
    """Medians and percentiles over all rounds of one case."""
    times = [image_times for item in rounds for image_times in item.times]
    stages, last = latencies(times), rounds[-1]
    return BenchRow(
        model=last.model,
        engine=last.engine,
        precision=last.precision,
        samples=len(times),
        stages=stages,
        frames_per_second=stages["total"].per_second,
        streamed_per_second=latency([item.stream_milliseconds for item in rounds]).per_second,
        peak_memory=last.peak_memory / 1e6,
    )
