"""Networks of the light family as multiples of SSDLite's time, before they are trained.

Each candidate is the spec of the default model with changes. Weights are random, which does not change the time.
Networks are int8 and run interleaved, each in its own process.

`python -m benchmarks.speed.architectures --json architectures.json`
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import tyro

from benchmarks._lib.results import Table, notify, print_results, require_images, write_json
from benchmarks.competitors.model_files import quantize_competitor
from benchmarks.competitors.networks import COMPETITORS, PEERS, CompetitorPredictor, Runtime, Session, Setup
from blitznet.bench.interleaved import BenchTask, run_interleaved
from blitznet.bench.timing import Latency, latency, timed
from blitznet.core.arrays import RGBArray
from blitznet.core.image import ImageSource
from blitznet.core.models import DEFAULT, get_spec
from blitznet.core.selection import evenly_spaced
from blitznet.core.spec import Spec
from blitznet.export.formats import export
from blitznet.export.quantize import quantize_onnx
from blitznet.nets.blitznet import build
from blitznet.runtime.threads import available_threads

SPEC = get_spec(DEFAULT)
IMAGES = Path(__file__).parents[3] / "shared" / "data" / "VOCdevkit" / "VOC2012" / "JPEGImages"
DETECTOR = COMPETITORS[0]


VERSION_1 = replace(
    get_spec("blitznet300-lite-plain").network,
    extra_levels=SPEC.network.extra_levels,
    ssd_head=True,
    ssd_box_head=True,
    detection_prior=True,
)
"""the network of version 1: concatenations, a second SSD head and a detection prior"""

CANDIDATES: dict[str, Spec] = {
    DEFAULT: SPEC,
    "boxes only": replace(SPEC, tasks=("detection",)),
    "class map only": replace(SPEC, tasks=("segmentation",)),
    "no context blocks": replace(SPEC, network=replace(SPEC.network, context_blocks=0)),
    "96 channels": replace(SPEC, network=replace(SPEC.network, channels=96)),
    f"{DEFAULT} v1": replace(SPEC, network=VERSION_1),
    "blitznet416-lite": get_spec("blitznet416-lite"),
}
"""title -> spec of a network to time"""


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    candidates: tuple[str, ...] = ()
    """Titles of candidates. Default: all."""
    rounds: int = 10
    """Rounds, after one round of warm-up. Default: 10."""
    repeats: int = 20
    """Repetitions in a round. Default: 20."""
    threads: int = available_threads()
    """Threads. Default: one per core."""
    runtimes: tuple[Runtime, ...] = ("openvino", "onnxruntime")
    images: int = 16
    """Calibration images of int8. Default: 16."""
    json: Path | None = None


def main(options: Options) -> None:
    """Export, measure, print and write."""
    require_images(IMAGES)
    titles = [title for title in CANDIDATES if not options.candidates or title in options.candidates]
    paths = sorted(IMAGES.glob("*.jpg"))
    images = [ImageSource(paths[index]).read() for index in evenly_spaced(len(paths), options.images)]
    rows = []
    with TemporaryDirectory() as folder:
        notify("exporting")
        files = {DETECTOR.title: quantize_competitor(DETECTOR, images, Path(folder, "detector.onnx"))}
        for index, title in enumerate(titles):
            files[title] = write_int8(CANDIDATES[title], images, Path(folder, f"{index}.onnx"))
        for runtime in options.runtimes:
            notify(f"measuring {runtime}")
            factories = [partial(open_network, file, runtime, options, title) for title, file in files.items()]
            measured = [
                latency([value for times_of_round in times for value in times_of_round])
                for times in run_interleaved(factories, options.rounds)
            ]
            rows += [row(runtime, title, value, measured[0]) for title, value in zip(files, measured, strict=True)]
    table = Table(
        f"int8 networks, {options.threads} threads", ("runtime", "network", "median, ms", "times SSDLite"), rows
    )
    print_results([table])
    write_json(options.json, options, tables=[table])


def row(runtime: str, title: str, value: Latency, reference: Latency) -> tuple[str, ...]:
    """A row of the table."""
    return runtime, title, f"{value.median:.2f}", f"{value.median / reference.median:.2f}"


def write_int8(spec: Spec, images: Sequence[RGBArray], target: Path) -> Path:
    """The network of a spec with random weights as an int8 file, for one image per batch."""
    import onnx

    torch.manual_seed(0)
    inputs = [np.asarray(ImageSource(image).resize(spec.size)) for image in images]
    source = target.with_suffix(".float32.onnx")
    export(build(spec).eval(), spec, source)
    quantize_onnx(source, target, inputs, spec)
    model = onnx.load(target)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1  # as the OpenVINO engine compiles it
    onnx.save(model, target)
    return target


def open_network(file: Path, runtime: Runtime, options: Options, title: str) -> BenchTask[list[float]]:
    """The task that runs a network several times, in milliseconds."""
    setup = Setup(runtime, "int8", options.threads)
    if title == DETECTOR.title:
        predictor = CompetitorPredictor(DETECTOR, Setup(runtime, "int8", options.threads, file), PEERS)
        predictor(np.zeros((*SPEC.size, 3), np.uint8))
        run = predictor.session.rerun
    else:
        session = Session(file, setup)
        session.run(None, {"images": np.zeros((1, *CANDIDATES[title].size, 3), np.uint8)})
        run = session.rerun
    return lambda: [timed(run)[1] for _ in range(options.repeats)]


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
