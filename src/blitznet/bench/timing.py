"""Times of the stages from image to result, measured on the functions that `Predictor` consists of."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import numpy as np
from PIL import Image

from blitznet.core.arrays import RGBArray, Size
from blitznet.core.errors import UsageError
from blitznet.core.image import ImageSource
from blitznet.postprocess.postprocess import postprocess
from blitznet.runtime.predictor import BasePredictor
from blitznet.runtime.preprocess import as_image_source

STAGES = ("decode", "resize", "network", "post-processing", "class map", "total")
"""stages in order; `total` is one call, from an array to a Result with its class map, without decoding"""

Returned = TypeVar("Returned")
Times = dict[str, float]
"""stage -> milliseconds; without `class map` for a model that has none"""

_JPEG_QUALITY = 90


@dataclass(frozen=True, slots=True, eq=False)
class BenchImage:
    """An image to measure on."""

    pixels: RGBArray
    """(H, W, 3) uint8 RGB"""
    jpeg: bytes
    """the same image as a JPEG file"""


@dataclass(frozen=True, slots=True)
class Latency:
    """Summary of many measurements, milliseconds."""

    median: float
    p95: float
    """95th percentile"""

    @property
    def per_second(self) -> float:
        """Throughput at the median."""
        return 1000 / self.median


def load_bench_image(path: Path, size: Size | None = None) -> BenchImage:
    """Read an image, and resize it to (H, W) if `size` is not None. Raises DataError if it cannot be read."""
    pixels = ImageSource(path).read() if size is None else ImageSource(path).resize(size)
    jpeg = BytesIO()
    Image.fromarray(pixels).save(jpeg, "JPEG", quality=_JPEG_QUALITY)
    return BenchImage(pixels, jpeg.getvalue())


def time_stages(predictor: BasePredictor, image: BenchImage) -> Times:
    """Milliseconds of each stage for one image; the input of a stage is the output of the one before."""
    engine, spec, image_source = predictor.engine, predictor.spec, as_image_source(image.pixels)
    times: Times = {}
    _, times["decode"] = timed(partial(_decode, image.jpeg))
    model_input, times["resize"] = timed(partial(predictor.preprocess, image_source))
    outputs, times["network"] = timed(partial(engine.run, model_input.pixels[None]))
    input_size = model_input.pixels.shape[:2]
    size, config = model_input.original_size, predictor.config
    result, times["post-processing"] = timed(
        partial(postprocess, outputs, 0, spec, size=size, input_size=input_size, config=config)
    )
    if "segmentation" in spec.tasks:
        _, times["class map"] = timed(lambda: result.class_map)
    _, times["total"] = timed(lambda: predictor.all_detections(image.pixels).class_map)
    return times


def time_stream(predictor: BasePredictor, images: Sequence[RGBArray]) -> float:
    """Milliseconds per image of a stream with a replica on each thread, from an array to boxes and class map.

    Raises:
        UsageError: There are no images.
    """
    if not images:
        raise UsageError("images: expected at least 1 to time a stream, got 0")

    def predict_all() -> None:
        for item in predictor.stream(images, min_score=0, throughput=True):
            assert item.result is not None, "arrays can be read"
            _ = item.result.class_map

    _, milliseconds = timed(predict_all)
    return milliseconds / len(images)


def timed(function: Callable[[], Returned]) -> tuple[Returned, float]:
    """The returned value of a call, and its milliseconds."""
    start = perf_counter()
    value = function()
    return value, 1e3 * (perf_counter() - start)


def latency(milliseconds: Sequence[float]) -> Latency:
    """Median and 95th percentile of measurements."""
    return Latency(float(np.median(milliseconds)), float(np.percentile(milliseconds, 95)))


def latencies(times: Sequence[Times]) -> dict[str, Latency]:
    """Median and 95th percentile of each stage that was measured."""
    return {stage: latency([item[stage] for item in times]) for stage in STAGES if stage in times[0]}


def peak_memory() -> int:
    """Peak resident memory of this process, bytes."""
    # From the kernel where possible: on Linux getrusage counts the memory of the parent before the fork as well.
    status = Path("/proc/self/status")
    if status.exists():
        lines = [line.split() for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        if lines:
            return int(lines[0][1]) * 1024
    import resource  # does not exist on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def library_version(engine: str) -> str:
    """Version of the library of a loaded engine, by the engine's name; empty if unknown."""
    library = sys.modules.get(engine.partition("-")[0])
    return str(getattr(library, "__version__", "")).partition("-")[0]


def _decode(jpeg: bytes) -> RGBArray:
    with Image.open(BytesIO(jpeg)) as image:
        return ImageSource(image).read()
