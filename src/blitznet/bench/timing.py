"""How long each stage from image to result takes, by the very functions that the predictor is made of."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import numpy as np
from PIL import Image as Pillow

from blitznet.core.arrays import RGBArray
from blitznet.core.errors import UsageError
from blitznet.core.image import ImageSource
from blitznet.postprocess.postprocess import postprocess
from blitznet.postprocess.result import Result
from blitznet.runtime.predictor import Predictor
from blitznet.runtime.preprocess import as_image_source
from blitznet.runtime.stream import StreamResult

STAGES = ("decode", "resize", "network", "post-processing", "mask", "total")
"""in order; total is from an array to a Result with its class map, measured by itself and without decode"""

Answer = TypeVar("Answer")
Times = dict[str, float]
"""milliseconds by the stage's name; without `mask` where the model makes no class map"""

_QUALITY = 90


@dataclass(frozen=True, slots=True, eq=False)
class BenchImage:
    """A image to time on."""

    pixels: RGBArray
    """(H, W, 3) uint8 RGB"""
    jpeg: bytes
    """the same as a JPEG"""


@dataclass(frozen=True, slots=True)
class Latency:
    """What many measurements come to, milliseconds."""

    median: float
    p95: float

    @property
    def per_second(self) -> float:
        """How often the median fits into a second."""
        return 1000 / self.median


def load_bench_image(path: Path, size: tuple[int, int] | None = None) -> BenchImage:
    """The image in a file, brought to `size` (H, W) if that is given. Raises DataError if it cannot be read."""
    pixels = ImageSource(path).read() if size is None else ImageSource(path).resize(size)
    jpeg = BytesIO()
    Pillow.fromarray(pixels).save(jpeg, "JPEG", quality=_QUALITY)
    return BenchImage(pixels, jpeg.getvalue())


def time_stages(predictor: Predictor, one: BenchImage) -> Times:
    """Milliseconds of every stage for one image, each stage fed with what the one before it gave."""
    engine, spec, image = predictor.engine, predictor.spec, as_image_source(one.pixels)
    times: Times = {}
    _, times["decode"] = timed(partial(_decode, one.jpeg))
    fed, times["resize"] = timed(partial(predictor.preprocess, image))
    outputs, times["network"] = timed(partial(engine.run, fed.pixels[None]))
    finishing = partial(postprocess, size=fed.original_size, input_size=fed.pixels.shape[:2], config=predictor.limits)
    result, times["post-processing"] = timed(partial(finishing, outputs, 0, spec))
    if "segmentation" in spec.tasks:
        _, times["mask"] = timed(partial(_class_map, result))
    _, times["total"] = timed(partial(_whole, predictor, one.pixels))
    return times


def time_stream(predictor: Predictor, images: Sequence[RGBArray]) -> float:
    """Milliseconds an image of a stream that looks at several at once, from its array to boxes and class map."""
    if not images:
        raise UsageError("a stream of no images takes no time")
    _, milliseconds = timed(lambda: [_class_map_of(seen) for seen in predictor.stream(images, throughput=True)])
    return milliseconds / len(images)


def timed(work: Callable[[], Answer]) -> tuple[Answer, float]:
    """What a call answers, and its milliseconds."""
    start = perf_counter()
    answer = work()
    return answer, 1e3 * (perf_counter() - start)


def latency(values: Sequence[float]) -> Latency:
    """Median and 95th percentile."""
    return Latency(float(np.median(values)), float(np.percentile(values, 95)))


def latencies(times: Sequence[Times]) -> dict[str, Latency]:
    """Median and 95th percentile of each stage that was measured."""
    return {stage: latency([one[stage] for one in times]) for stage in STAGES if stage in times[0]}


def peak_memory() -> int:
    """Bytes of the most memory this process ever held.

    The kernel's own line where there is one: what getrusage tells of a process on Linux counts its parent's too.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = [line.split() for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        if lines:
            return int(lines[0][1]) * 1024
    import resource  # not on Windows, where there is no such figure

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def library_version(engine: str) -> str:
    """Version of the library that an open engine computes with, by the engine's name; empty if it names none."""
    library = sys.modules.get(engine.partition("-")[0])
    return str(getattr(library, "__version__", "")).partition("-")[0]


def _decode(jpeg: bytes) -> RGBArray:
    with Pillow.open(BytesIO(jpeg)) as image:
        return ImageSource(image).read()


def _class_map(result: Result) -> object:
    return result.class_map


def _class_map_of(seen: StreamResult) -> object:
    assert seen.result is not None, "arrays can be read"
    return seen.result.class_map


def _whole(predictor: Predictor, image: RGBArray) -> object:
    return predictor(image).class_map
