"""`blitznet batch`: predict millions of images into Parquet parts, on this machine or on a Ray cluster."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from blitznet.cli.console import rate_bar
from blitznet.cli.engines import EngineFlag, TrustFlag
from blitznet.cli.flags import metavar, parse_grid
from blitznet.core.models import DEFAULT, DEFAULT_MIN_SCORE

if TYPE_CHECKING:
    from blitznet.bulk.progress import BulkProgress
    from blitznet.bulk.run import BulkSummary

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
    from blitznet.workflows import batch_predict

    rate = 0.0
    with rate_bar("images") as bar:

        def report(state: "BulkProgress") -> None:
            nonlocal rate
            rate = state.rate
            bar(state.done, state.total, describe(state))

        summary = batch_predict(
            options.sources,
            options.out,
            model=options.model,
            min_score=options.min_score,
            masks=options.masks,
            shard_size=options.shard_size,
            limit=options.limit,
            workers=options.workers,
            ray=options.ray,
            image_column=options.image_column,
            id_column=options.id_column,
            engine=options.engine,
            tta=options.tta,
            slices=parse_grid(options.slices),
            retry_errors=options.retry_errors,
            overwrite=options.overwrite,
            trust=options.trust,
            progress=report,
        )
    print(_last_line(options.out, summary, rate))
    return 0 if summary.errors == 0 else 1


def describe(state: "BulkProgress") -> str:
    """The state of a run in one line: `1,200 of 50,000 images, 95.1 images/s, 0:08:33 left`."""
    total = "" if state.total is None else f" of {state.total:,}"
    rate = f", {state.rate:.1f} images/s" if state.predicted else ""
    left = "" if state.seconds_left is None else f", {timedelta(seconds=round(state.seconds_left))} left"
    return f"{state.done:,}{total} images{rate}{left}"


def _last_line(out: str, summary: "BulkSummary", rate: float) -> str:
    errors = f", {summary.errors:,} cannot be read" if summary.errors else ""
    new = f"   {summary.predicted:,} predicted in this run"
    speed = f", {rate:.1f} images/s" if summary.predicted else ""
    return f"parts: {out}   {summary.parts:,} parts, {summary.images:,} images{errors}{new}{speed}"
