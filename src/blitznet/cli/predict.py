"""`blitznet predict`: write annotated images, class maps and JSON, and print a table."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from blitznet.cli.console import VERBOSITY, stdout_console
from blitznet.cli.engines import EngineFlag, ThreadsFlag, engine_summary
from blitznet.cli.files import make_folders, prepare_files, write_json
from blitznet.cli.flags import metavar, parse_grid
from blitznet.cli.formats import FormatName, FormatWriter
from blitznet.core.errors import UsageError
from blitznet.core.files import translate_write_errors
from blitznet.core.models import DEFAULT

if TYPE_CHECKING:
    from rich.console import Console

    from blitznet.postprocess.result import Result
    from blitznet.runtime.stream import StreamResult

MAX_ROWS = 50
"""maximum rows of the printed table; the JSON has all images"""
PREDICTIONS = "predictions.json"
"""default name of the JSON list, in the output folder"""
_MIN_IMAGES_FOR_PROGRESS = 5
"""number of images from which a progress bar is shown"""


@dataclass(frozen=True)
class Predict:
    """Detect objects and segment images.

    Writes an annotated image and a class map (palette PNG) for each image, and one JSON list for all of them.

    Examples:
        blitznet predict
        blitznet predict images 'more/**/*.jpg' --min-score 0.3 --out results --formats coco yolo
        blitznet predict large.jpg --slices 2x3 --tta flip
    """

    sources: Annotated[tuple[str, ...], tyro.conf.Positional, metavar("[SOURCE ...]")] = ()
    """Images, folders and quoted globs such as 'images/**/*.jpg'. Default: the sample images in the package."""
    model: Annotated[str, metavar("MODEL")] = DEFAULT
    """Name of a model in the package, model file, or folder of a training run. Default: blitznet300-lite."""
    min_score: Annotated[float, metavar("SCORE")] = 0.5
    """Minimum score of detections to keep, 0 to 1. Default: 0.5."""
    out: Annotated[Path, metavar("DIR")] = Path("blitznet-out")
    """Folder to write images and class maps to; created if it does not exist. Default: blitznet-out."""
    json: Annotated[Path | None, metavar("FILE")] = None
    """File to write the JSON list to. Default: predictions.json in the output folder."""
    formats: Annotated[tuple[FormatName, ...], metavar("[FORMAT ...]")] = ()
    """Also write these formats, each into its own folder: yolo, labelme, cvat, coco. Default: none."""
    engine: EngineFlag = "auto"
    threads: ThreadsFlag = None
    tta: Annotated[Literal["flip"] | None, metavar("flip")] = None
    """Average the outputs of the image and its mirror image, in twice the time. Default: no augmentation."""
    slices: Annotated[str | None, metavar("RxC")] = None
    """Also predict a grid of ROWSxCOLUMNS overlapping tiles, for small objects in large images. Default: no tiles."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The written result of one image."""

    entry: dict[str, Any]
    """entry of the JSON list"""
    summary: str
    """detections, for the table"""
    seconds: float
    """seconds of decoding, inference and post-processing"""


def run(options: Predict) -> int:
    """Predict every image; return 1 if some could not be read. Inference and writing of images overlap."""
    from rich.console import Console
    from rich.progress import track

    from blitznet.api import load
    from blitznet.runtime.image_paths import find_images

    if not 0 <= options.min_score <= 1:
        raise UsageError(f"--min-score: expected 0 to 1, got {options.min_score}")
    images = find_images(options.sources)
    predictor = load(
        options.model,
        engine=options.engine,
        threads=options.threads,
        tta=options.tta,
        slices=parse_grid(options.slices),
    )
    json_path = options.json or options.out / PREDICTIONS
    make_folders(options.out)
    prepare_files(json_path)
    format_writer = FormatWriter(options.out, options.formats, predictor.spec.classes)
    stderr = Console(stderr=True)
    predictions: list[Prediction] = []
    no_bar = len(images) < _MIN_IMAGES_FOR_PROGRESS or VERBOSITY.quiet or not stderr.is_terminal
    names = _unique_names(images, options.out)
    with closing(predictor.stream(images, min_score=options.min_score)) as stream:
        named = zip(stream, names, strict=True)
        for item, name in track(named, "images", len(images), console=stderr, disable=no_bar):
            if item.result is None:
                print(f"blitznet: error: {item.error}", file=sys.stderr)
            else:
                predictions.append(_write(item, item.result, options.out, name))
                format_writer.add(Path(str(item.source)), name, item.result)
    format_writer.close()
    write_json(json_path, [prediction.entry for prediction in predictions])
    _print_table(stdout_console(), predictions, json_path)
    print(f"images: {options.out}   JSON: {json_path}   {engine_summary(predictor, options.threads)}")
    return 0 if len(predictions) == len(images) else 1


def _write(item: "StreamResult", result: "Result", folder: Path, name: str) -> Prediction:
    """Write the annotated image and the class map of one image."""
    from blitznet.drawing.annotate import palette_png
    from blitznet.runtime.preprocess import as_image_source

    annotated_path, class_map_path = _output_paths(folder, name)
    result.save(annotated_path)
    if result.class_map is not None:
        with translate_write_errors(folder):
            palette_png(result.class_map).save(class_map_path)
    entry = {
        "path": as_image_source(item.source).name,
        **result.to_dict(),
        "class_map": None if result.class_map is None else str(class_map_path),
    }
    return Prediction(entry, _summarize(result), item.seconds)


def _summarize(result: "Result") -> str:
    """The number of detections of each class, the highest score first: `2 person, cat`."""
    counts = Counter(detection.class_name for detection in result)
    return ", ".join(name if count == 1 else f"{count} {name}" for name, count in counts.items()) or "-"


def _relative(path: str) -> str:
    """The path relative to the working folder, if it is inside."""
    return str(Path(path).relative_to(Path.cwd())) if Path(path).is_relative_to(Path.cwd()) else path


def _output_paths(folder: Path, name: str) -> tuple[Path, Path]:
    """Files of the annotated image and of the class map."""
    return folder / f"{name}.jpg", folder / f"{name}-class-map.png"


def _unique_names(images: list[Path], folder: Path) -> Iterator[str]:
    """A stem for each image's output files, with a number where two images would share it or one be overwritten.

    If the output folder contains source images, no existing file is overwritten.
    """
    taken = {image.resolve() for image in images}
    keep_existing = folder.resolve() in {image.parent.resolve() for image in images}
    for image in images:
        name, number = image.stem, 2
        while taken & {path.resolve() for path in _output_paths(folder, name)} or (
            keep_existing and any(path.exists() for path in _output_paths(folder, name))
        ):
            name, number = f"{image.stem}-{number}", number + 1
        taken |= {path.resolve() for path in _output_paths(folder, name)}
        yield name


def _print_table(console: "Console", predictions: list[Prediction], json_path: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("image", overflow="fold")
    table.add_column("detections")
    table.add_column("ms", justify="right")
    for prediction in predictions[:MAX_ROWS]:
        path = Text(_relative(prediction.entry["path"]))
        table.add_row(path, Text(prediction.summary), f"{prediction.seconds * 1000:.0f}")
    console.print(table)
    if len(predictions) > MAX_ROWS:
        print(f"... and {len(predictions) - MAX_ROWS} more, all in {json_path}")
