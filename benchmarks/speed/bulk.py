"""`blitznet batch`: images per second into Parquet parts, beside the engine's own stream, in turns; and on Ray.

The images are cut into groups. For each group the stream of the predictor runs, with the class map of each image, and
then bulk prediction into parts, or the other way round. Both read the same files with the same engine. The first group
is not counted. Ray then predicts all images, with a worker for each processor.

`python -m benchmarks.speed.bulk --json bulk.json`
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import tyro

from benchmarks._lib.results import DATA, Table, at_least, notify, percent, print_results, require_images, write_json
from blitznet.api import load, model_file
from blitznet.bulk.predict import PartJob
from blitznet.bulk.progress import ProgressMeter
from blitznet.bulk.ray_runner import ray_runner
from blitznet.bulk.run import BulkSource, Runner, local_runner, run_bulk
from blitznet.bulk.settings import BulkSettings, identify_model
from blitznet.bulk.shards import cut_shards
from blitznet.core.errors import MissingExtra
from blitznet.core.models import DEFAULT
from blitznet.runtime.engine import EngineName
from blitznet.runtime.predictor import BasePredictor
from blitznet.runtime.threads import available_threads

MIN_SHARE = 0.9
"""goal: images per second of bulk prediction, as a share of the stream's"""
NAMES = 50_000
"""files whose names are read, for the rate of the driver"""


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    root: Path = DATA
    """Folder of the images. Default: ../shared/data."""
    images: int = 5000
    """Number of images. Default: 5000."""
    groups: int = 10
    """Number of groups, each predicted by the stream and in bulk. Default: 10."""
    model: str = DEFAULT
    """Model to run. Default: blitznet300-lite."""
    engine: EngineName = "auto"
    """Inference engine. Default: auto."""
    ray: bool = True
    """Also predict all images on Ray."""
    json: Path | None = None
    """Write the results to this file."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Images per second of one way to predict them."""

    name: str
    images: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Images per second."""
        return self.images / self.seconds


def time_stream(predictor: BasePredictor, paths: list[Path]) -> float:
    """Seconds of the predictor's stream, with the class map of each image."""
    started = perf_counter()
    with closing(predictor.stream(paths, throughput=True)) as stream:
        assert all(item.result is not None and item.result.class_map is not None for item in stream)
    return perf_counter() - started


def time_bulk(job: PartJob, paths: list[Path], runner: Runner, meter: ProgressMeter) -> float:
    """Seconds of a run that writes all parts."""
    list_file = Path(f"{job.folder}.txt")
    list_file.write_text("".join(f"{path.absolute()}\n" for path in paths))
    started = perf_counter()
    summary = run_bulk(BulkSource((str(list_file),)), job, runner, meter)
    assert (summary.predicted, summary.errors) == (len(paths), 0)
    return perf_counter() - started


def time_names(folder: Path, count: int) -> Rate:
    """The rate at which a folder of files is cut into shards."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:08}.jpg").touch()
    started = perf_counter()
    shards = list(cut_shards(BulkSource((str(folder),)).files(str(folder / "parts")), 1000))
    assert sum(len(shard.files) for shard in shards) == count
    return Rate("names and times of a folder", count, perf_counter() - started)


def compare(
    options: Options, job_in: Callable[[str], PartJob], predictor: BasePredictor, paths: list[Path]
) -> list[Rate]:
    """Images per second of the stream and of bulk prediction, over all groups but the first."""
    seconds = {"stream": 0.0, "bulk": 0.0}
    size = len(paths) // options.groups
    for number in range(options.groups):
        group = paths[number * size : (number + 1) * size]
        job, meter = job_in(f"group-{number}"), ProgressMeter()
        turns: dict[str, Callable[[], float]] = {
            "stream": partial(time_stream, predictor, group),
            "bulk": partial(time_bulk, job, group, local_runner(job, predictor, meter), meter),
        }
        for name in sorted(turns, reverse=number % 2 == 0):
            taken = turns[name]()
            seconds[name] += taken if number else 0
        notify(f"group {number + 1} of {options.groups}")
    count = size * (options.groups - 1)
    return [
        Rate("the engine's stream, with class maps", count, seconds["stream"]),
        Rate("bulk", count, seconds["bulk"]),
    ]


def time_ray(job: PartJob, options: Options, paths: list[Path]) -> Rate:
    """The rate on Ray, with its start."""
    worker_load = partial(load, engine=job.settings.engine, threads=1)
    workers = available_threads()
    runner = ray_runner(job, model_file(options.model, options.engine), worker_load, "local", workers)
    seconds = time_bulk(job, paths, runner, ProgressMeter())
    return Rate(f"bulk on Ray, {workers} workers, with its start", len(paths), seconds)


def main(options: Options) -> None:
    """Measure, print and write."""
    require_images(options.root)
    available = sorted((options.root / "VOCdevkit" / "VOC2012" / "JPEGImages").glob("*.jpg"))
    paths = list(islice(cycle(available), options.images))
    predictor = load(options.model, engine=options.engine)
    settings = BulkSettings().with_engine(predictor.engine.name)
    model = identify_model(model_file(options.model, options.engine), predictor.spec.classes)
    with TemporaryDirectory() as folder:
        stream, bulk = compare(options, lambda name: PartJob(model, settings, f"{folder}/{name}"), predictor, paths)
        rates = [stream, bulk]
        if options.ray:
            try:
                rates.append(time_ray(PartJob(model, settings, f"{folder}/ray"), options, paths))
            except MissingExtra as error:
                notify(str(error))
        rates.append(time_names(Path(folder) / "names", NAMES))
    rows = [
        (rate.name, str(rate.images), f"{rate.per_second:.1f}", percent(rate.per_second / stream.per_second))
        for rate in rates
    ]
    table = Table("blitznet batch", ("", "images", "images/s", "of the stream"), rows)
    share = bulk.per_second / stream.per_second
    goals = [at_least("bulk prediction without Ray, as a share of the stream's rate", share, MIN_SHARE)]
    print_results([table], goals)
    write_json(options.json, options, rates=rates, tables=[table], goals=goals)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
