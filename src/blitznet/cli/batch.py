"""`blitznet batch`: predict millions of images into Parquet parts, on this machine or on a Ray cluster."""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from blitznet.cli.console import rate_bar
from blitznet.cli.engines import EngineFlag, TrustFlag
from blitznet.cli.flags import metavar, parse_grid
from blitznet.core.errors import UsageError
from blitznet.core.models import DEFAULT, DEFAULT_MIN_SCORE

if TYPE_CHECKING:
    from blitznet.bulk.predict import PartJob
    from blitznet.bulk.progress import BulkProgress, ProgressMeter
    from blitznet.bulk.run import BulkSummary, Runner
    from blitznet.runtime.predictor import BasePredictor

_OVERWRITE_HELP = (
    "Replace parts of other images, another model or other settings, and delete parts whose images are not in the "
    "source any more. Default: keep them, and end with an error."
)
_RETRY_HELP = "Predict parts again in which an image could not be read. Default: keep them."


@dataclass(frozen=True)
class BatchPredict:
    """Predict millions of images; a run that was killed continues, and a second run changes nothing.

    Writes Parquet parts with a row for each image: boxes, labels, scores, run lengths of the class map, or the error of
    an image that cannot be read. A part is written whole, under a name made from its images, the model and the
    settings; parts that exist are not computed again.

    Examples:
        blitznet batch images --out parts
        blitznet batch list.txt 'shards/*.tar' data.parquet --masks none --shard-size 5000 --out parts
        blitznet batch s3://bucket/images --ray auto --out s3://bucket/parts
    """

    sources: Annotated[tuple[str, ...], tyro.conf.Positional, metavar("SOURCE [SOURCE ...]")] = ()
    """Folders with their subfolders, images, quoted globs, webdataset tar files, Parquet files with a column of images,
    text lists (.txt) of all these, and URLs of them (s3, gs, http) where fsspec's packages are installed."""
    out: Annotated[str, metavar("DIR")] = "blitznet-parts"
    """Folder of the parts, or its URL; created if it does not exist. Default: blitznet-parts."""
    model: Annotated[str, metavar("MODEL")] = DEFAULT
    """Name of a model in the package, model file, or folder of a training run. Default: blitznet300-lite."""
    min_score: Annotated[float, metavar("SCORE")] = DEFAULT_MIN_SCORE
    """Minimum score of detections to keep, 0 to 1. Default: 0.5."""
    masks: Annotated[Literal["class-map", "coco", "none"], metavar("MASKS")] = "class-map"
    """Masks to write: class-map (run lengths of the class map), coco (COCO run lengths of each class; needs the extra
    eval) or none. Default: class-map."""
    shard_size: Annotated[int, metavar("N")] = 1000
    """Image files in a part; a tar or Parquet file is one part. A run that is killed loses its parts in progress.
    Default: 1000."""
    limit: Annotated[int | None, metavar("N")] = None
    """Predict only the first N images. Default: all."""
    workers: Annotated[int | None, metavar("N")] = None
    """Replicas of the network, a thread each; with --ray, processes of the cluster. Default: one for each processor;
    with --ray one processor is left to read the source."""
    ray: Annotated[str | None, metavar("ADDRESS|local")] = None
    """Predict on a Ray cluster: its address, auto for the one of this machine, or local to start one here. Default: no
    cluster."""
    image_column: Annotated[str | None, metavar("NAME")] = None
    """Column of Parquet files with the images. Default: image, or the first with bytes."""
    id_column: Annotated[str | None, metavar("NAME")] = None
    """Column of Parquet files to use as id. Default: path and number of the row."""
    engine: EngineFlag = "auto"
    tta: Annotated[Literal["flip"] | None, metavar("flip")] = None
    """Average the outputs of the image and its mirror image, in twice the time. Default: no augmentation."""
    slices: Annotated[str | None, metavar("RxC")] = None
    """Also predict a grid of ROWSxCOLUMNS overlapping tiles, for small objects in large images. Default: no tiles."""
    retry_errors: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help=_RETRY_HELP)] = False
    overwrite: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help=_OVERWRITE_HELP)] = False
    trust: TrustFlag = False


def run(options: BatchPredict) -> int:
    """Write the missing parts and the manifest; return 1 if some images could not be read."""
    from blitznet.api import load, model_file
    from blitznet.bulk.parquet import require_pyarrow
    from blitznet.bulk.predict import PartJob
    from blitznet.bulk.progress import ProgressMeter
    from blitznet.bulk.run import BulkSource, run_bulk
    from blitznet.bulk.settings import BulkSettings, identify_model

    source = BulkSource(options.sources, options.shard_size, options.limit)
    _require_workers(options.workers)
    require_pyarrow()
    slices = parse_grid(options.slices)
    settings = BulkSettings(
        options.min_score,
        options.masks,
        options.engine,
        options.tta,
        slices,
        options.image_column,
        options.id_column,
    )
    threads = 1 if options.ray else options.workers
    predictor = load(
        options.model, engine=options.engine, threads=threads, tta=options.tta, slices=slices, trust=options.trust
    )
    settings = settings.with_engine(predictor.engine.name)
    model = identify_model(model_file(options.model, options.engine), predictor.spec.classes)
    job = PartJob(model, settings, options.out)
    with rate_bar("images") as bar:
        meter = ProgressMeter(lambda state: bar(state.done, state.total, describe(state)), options.limit)
        summary = run_bulk(
            source,
            job,
            _runner(options, job, predictor, meter),
            meter,
            overwrite=options.overwrite,
            retry_errors=options.retry_errors,
        )
        state = meter.state()
    print(_last_line(options.out, summary, state))
    return 0 if summary.errors == 0 else 1


def describe(state: "BulkProgress") -> str:
    """The state of a run in one line: `1,200 of 50,000 images, 95.1 images/s, 0:08:33 left`."""
    total = "" if state.total is None else f" of {state.total:,}"
    rate = f", {state.rate:.1f} images/s" if state.predicted else ""
    left = "" if state.seconds_left is None else f", {timedelta(seconds=round(state.seconds_left))} left"
    return f"{state.done:,}{total} images{rate}{left}"


def _last_line(out: str, summary: "BulkSummary", state: "BulkProgress") -> str:
    errors = f", {summary.errors:,} cannot be read" if summary.errors else ""
    new = f"   {summary.predicted:,} predicted in this run"
    rate = f", {state.rate:.1f} images/s" if summary.predicted else ""
    return f"parts: {out}   {summary.parts:,} parts, {summary.images:,} images{errors}{new}{rate}"


def _runner(options: BatchPredict, job: "PartJob", predictor: "BasePredictor", meter: "ProgressMeter") -> "Runner":
    from blitznet.api import load, model_file

    if options.ray is None:
        from blitznet.bulk.run import local_runner

        return local_runner(job, predictor, meter)
    from blitznet.bulk.ray_runner import ray_runner

    settings = job.settings
    worker_load = partial(
        load, engine=settings.engine, threads=1, tta=settings.tta, slices=settings.slices, trust=options.trust
    )
    return ray_runner(job, model_file(options.model, options.engine), worker_load, options.ray, options.workers)


def _require_workers(workers: int | None) -> None:
    if workers is not None and workers < 1:
        raise UsageError(f"--workers: expected 1 or more, got {workers}")
