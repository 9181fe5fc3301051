"""How long each stage from photo to result takes, by the very functions that the predictor is made of."""

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

from blitznet.core.arrays import Image
from blitznet.core.errors import UsageError
from blitznet.core.photo import Photo
from blitznet.core.result import Result
from blitznet.runtime.finish import finish
from blitznet.runtime.predictor import Predictor
from blitznet.runtime.prepare import as_photo
from blitznet.runtime.stream import Seen

STAGES = ("decode", "resize", "network", "post-processing", "mask", "total")
"""in order; total is from an array to a Result with its class map, measured by itself and without decode"""

Answer = TypeVar("Answer")
Times = dict[str, float]
"""milliseconds by the stage's name; without `mask` where the model makes no class map"""

_QUALITY = 90


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A photo to time on."""

    pixels: Image
    """(H, W, 3) uint8 RGB"""
    jpeg: bytes
    """the same as a JPEG"""


@dataclass(frozen=True, slots=True)
class Spread:
    """What many measurements come to, milliseconds."""

    median: float
    p95: float

    @property
    def per_second(self) -> float:
        """How often the median fits into a second."""
        return 1000 / self.median


def shot(path: Path, size: tuple[int, int] | None = None) -> Shot:
    """The photo in a file, brought to `size` (H, W) if that is given. Raises DataError if it cannot be read."""
    pixels = Photo(path).read() if size is None else Photo(path).fit(size)
    jpeg = BytesIO()
    Pillow.fromarray(pixels).save(jpeg, "JPEG", quality=_QUALITY)
    return Shot(pixels, jpeg.getvalue())


def time_stages(predictor: Predictor, one: Shot) -> Times:
    """Milliseconds of every stage for one photo, each stage fed with what the one before it gave."""
    engine, spec, photo = predictor.engine, predictor.spec, as_photo(one.pixels)
    times: Times = {}
    _, times["decode"] = timed(partial(_decode, one.jpeg))
    fed, times["resize"] = timed(partial(predictor.feed, photo))
    outputs, times["network"] = timed(partial(engine.run, fed.pixels[None]))
    finishing = partial(finish, size=fed.size, fed=fed.pixels.shape[:2], limits=predictor.limits)
    result, times["post-processing"] = timed(partial(finishing, outputs, 0, spec))
    if "segmentation" in spec.tasks:
        _, times["mask"] = timed(partial(_class_map, result))
    _, times["total"] = timed(partial(_whole, predictor, one.pixels))
    return times


def time_stream(predictor: Predictor, images: Sequence[Image]) -> float:
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


def spread(values: Sequence[float]) -> Spread:
    """Median and 95th percentile."""
    return Spread(float(np.median(values)), float(np.percentile(values, 95)))


def spreads(times: Sequence[Times]) -> dict[str, Spread]:
    """Median and 95th percentile of each stage that was measured."""
    return {stage: spread([one[stage] for one in times]) for stage in STAGES if stage in times[0]}


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


def _decode(jpeg: bytes) -> Image:
    with Pillow.open(BytesIO(jpeg)) as image:
        return Photo(image).read()


def _class_map(result: Result) -> object:
    return result.class_map


def _class_map_of(seen: Seen) -> object:
    assert seen.result is not None, "arrays can be read"
    return seen.result.class_map


def _whole(predictor: Predictor, image: Image) -> object:
    return predictor(image).class_map
