"""The jobs that `run.py` interleaves: blitznet's networks, a competitor's, and pairs of them, each in its own process.

A job runs one round over all images. For each image it times everything from the array to boxes, class map or both,
and then the network alone on the same input. Finally it times all images as a stream with one thread per replica. The
module does not import torch, so the timed processes do not contain it.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from benchmarks.competitors.networks import PEERS, SEGMENTER, Competitor, CompetitorPredictor, Runtime, Setup
from blitznet.bench.interleaved import BenchTaskFactory
from blitznet.bench.timing import Latency, peak_memory, time_stream, timed
from blitznet.core.arrays import RGBArray
from blitznet.core.image import ImageSource
from blitznet.core.spec import Spec

Kind = Literal["blitznet", "detector", "segmenter", "pair"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """Times of one round, milliseconds, and memory."""

    network: list[float]
    """the network alone, of each image"""
    total: list[float]
    """from array to result, of each image"""
    streamed: float
    """from array to result, of an image in a stream"""
    memory: int
    """peak memory of the process, bytes"""


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One network, or one pair, in one setup."""

    title: str
    kind: Kind
    engine: str
    precision: str
    job: BenchTaskFactory[Measurement]
    parts: tuple[tuple[Competitor, Setup], ...] = ()
    """competitors it consists of; empty for blitznet"""


@dataclass(frozen=True, slots=True)
class Row:
    """Results of one entry, milliseconds."""

    title: str
    kind: Kind
    engine: str
    precision: str
    network: Latency
    total: Latency
    frames_per_second: float
    """one image after the other"""
    streamed_per_second: float
    """in a stream"""
    peak_memory: float
    """MB"""
    ap50: float | None = None
    """AP50 over classes with at least 20 objects, of three sets together"""
    miou: float | None = None


def blitznet_entry(file: Path, runtime: Runtime, spec: Spec, images: Sequence[Path], threads: int) -> Entry:
    """One of blitznet's model files on an engine."""
    job = partial(_open_blitznet, file, runtime, tuple(images), threads)
    return Entry(spec.name, "blitznet", runtime, spec.precision, job)


def competitor_entry(parts: Sequence[tuple[Competitor, Setup]], images: Sequence[Path], folder: Path = PEERS) -> Entry:
    """A competitor, or several that run one after the other."""
    competitors, setups = zip(*parts, strict=True)
    kind: Kind = "pair" if len(parts) > 1 else "segmenter" if competitors[0] is SEGMENTER else "detector"
    return Entry(
        title=" + ".join(competitor.title for competitor in competitors),
        kind=kind,
        engine=_joined([setup.runtime for setup in setups]),
        precision=_joined([setup.precision for setup in setups]),
        job=partial(_open_competitors, tuple(parts), tuple(images), folder),
        parts=tuple(parts),
    )


def _joined(words: Sequence[str]) -> str:
    return " + ".join(words if len(set(words)) > 1 else words[:1])


def _open_blitznet(file: Path, runtime: Runtime, images: Sequence[Path], threads: int) -> Callable[[], Measurement]:
    from blitznet.api import load
    from blitznet.runtime.preprocess import as_image_source, preprocess_batch

    predictor = load(file, engine=runtime, threads=threads)

    def predict(image: RGBArray) -> object:
        return predictor.all_detections(image).class_map

    def network_of(image: RGBArray) -> Callable[[], object]:
        return partial(predictor.engine.run, preprocess_batch([as_image_source(image)], predictor.spec))

    arrays = [ImageSource(path).read() for path in images]
    return partial(_measure, arrays, predict, network_of, partial(time_stream, predictor))


def _open_competitors(
    parts: Sequence[tuple[Competitor, Setup]], images: Sequence[Path], folder: Path
) -> Callable[[], Measurement]:
    predictors = [CompetitorPredictor(competitor, setup, folder) for competitor, setup in parts]
    threads = parts[0][1].threads
    single_threaded = [(competitor, replace(setup, threads=1)) for competitor, setup in parts]
    replicas = [
        [CompetitorPredictor(competitor, setup, folder) for competitor, setup in single_threaded]
        for _ in range(threads)
    ]

    def predict(image: RGBArray) -> object:
        return [predictor(image) for predictor in predictors]

    def rerun() -> None:
        for predictor in predictors:
            predictor.session.rerun()

    arrays = [ImageSource(path).read() for path in images]
    return partial(_measure, arrays, predict, lambda _: rerun, partial(_time_replicas, replicas))


def _time_replicas(replicas: Sequence[Sequence[CompetitorPredictor]], images: Sequence[RGBArray]) -> float:
    """Milliseconds per image if each replica takes the next image as soon as it is free."""
    free: SimpleQueue[Sequence[CompetitorPredictor]] = SimpleQueue()
    for replica in replicas:
        free.put(replica)

    def predict(image: RGBArray) -> None:
        replica = free.get()
        for predictor in replica:
            predictor(image)
        free.put(replica)

    with ThreadPoolExecutor(len(replicas)) as pool:
        return timed(lambda: list(pool.map(predict, images)))[1] / len(images)


def _measure(
    images: Sequence[RGBArray],
    predict: Callable[[RGBArray], object],
    network_of: Callable[[RGBArray], Callable[[], object]],
    time_images: Callable[[Sequence[RGBArray]], float],
) -> Measurement:
    measurement = Measurement([], [], 0, 0)
    for image in images:
        measurement.total.append(timed(partial(predict, image))[1])
        measurement.network.append(timed(network_of(image))[1])
    return replace(measurement, streamed=time_images(images), memory=peak_memory())
