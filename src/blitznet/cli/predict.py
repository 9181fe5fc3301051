"""`blitznet predict`: write annotated images, class maps and JSON, and print a table."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from blitznet.cli.console import VERBOSITY, notify, stdout_console
from blitznet.cli.engines import EngineFlag, ThreadsFlag, TrustFlag, engine_summary
from blitznet.cli.files import make_folders, prepare_files, write_json
from blitznet.cli.flags import OverwriteFlag, metavar, parse_grid
from blitznet.cli.formats import FormatName, FormatWriter
from blitznet.core.errors import BlitzNetError, UsageError, one_line
from blitznet.core.files import atomic_path, translate_write_errors
from blitznet.core.models import DEFAULT, DEFAULT_MIN_SCORE
from blitznet.core.written_files import WrittenFiles, record_written

if TYPE_CHECKING:
    from rich.console import Console

    from blitznet.core.arrays import ClassMap
    from blitznet.postprocess.result import Result
    from blitznet.runtime.predictor import BasePredictor
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
    min_score: Annotated[float, metavar("SCORE")] = DEFAULT_MIN_SCORE
    """Minimum score of detections to keep, 0 to 1. Default: 0.5."""
    classes: Annotated[tuple[str, ...], metavar("[CLASS ...]")] = ()
    """Keep only detections of these classes; class maps keep all. Default: all classes of the model."""
    out: Annotated[Path, metavar("DIR")] = Path("blitznet-out")
    """Folder to write images and class maps to; created if it does not exist. Default: blitznet-out."""
    json: Annotated[Path | None, metavar("FILE")] = None
    """File to write the JSON list to; - is stdout. Default: predictions.json in the output folder."""
    formats: Annotated[tuple[FormatName, ...], metavar("[FORMAT ...]")] = ()
    """Also write these formats, each into its own folder: yolo, labelme, cvat, coco, fiftyone, voc. Default: none."""
    engine: EngineFlag = "auto"
    threads: ThreadsFlag = None
    tta: Annotated[Literal["flip"] | None, metavar("flip")] = None
    """Average the outputs of the image and its mirror image, in twice the time. Default: no augmentation."""
    slices: Annotated[str | None, metavar("RxC")] = None
    """Also predict a grid of ROWSxCOLUMNS overlapping tiles, for small objects in large images. Default: no tiles."""
    overwrite: OverwriteFlag = False
    trust: TrustFlag = False


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
    from blitznet.api import load
    from blitznet.runtime.image_paths import skipped_images

    if not 0 <= options.min_score <= 1:
        raise UsageError(f"--min-score: expected 0 to 1, got {options.min_score}")
    images = _find_inputs(options.sources, options.out)
    if skipped := skipped_images(options.sources):
        listed = ", ".join(f"{count} {suffix}" for suffix, count in sorted(skipped.items()))
        files = "1 file" if skipped.total() == 1 else f"{skipped.total()} files"
        notify(f"skipped {files} in formats that cannot be read: {listed}")
    predictor = load(
        options.model,
        engine=options.engine,
        threads=options.threads,
        tta=options.tta,
        slices=parse_grid(options.slices),
        trust=options.trust,
    )
    if unknown := [name for name in options.classes if name not in predictor.spec.classes]:
        known = ", ".join(predictor.spec.classes)
        near = get_close_matches(unknown[0].lower(), predictor.spec.classes, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise UsageError(f"--classes: expected classes of the model ({known}), got {', '.join(unknown)}{hint}")
    json_path = options.json or options.out / PREDICTIONS
    make_folders(options.out)
    prepare_files(json_path, overwrite=options.overwrite, inputs=images)
    format_writer = FormatWriter(
        options.out, options.formats, predictor.spec.classes, overwrite=options.overwrite, inputs=images
    )
    predictions: list[Prediction] = []
    with ExitStack() as stack:  # also after Ctrl-C, or if one file cannot be written: what was predicted is not lost
        stack.callback(format_writer.close)
        stack.callback(lambda: write_json(json_path, [prediction.entry for prediction in predictions]))
        num_errors = _predict_all(options, images, predictor, format_writer, predictions)
    _print_table(stdout_console(), predictions, json_path)
    summary = f"images: {options.out}   JSON: {json_path}   {engine_summary(predictor, options.threads)}"
    print(one_line(summary))
    return 0 if num_errors == 0 else 1


def _find_inputs(sources: Sequence[str], out: Path) -> Sequence[Path]:
    """The images of the sources; with `**`, without those that an earlier run wrote into the output folder."""
    from blitznet.runtime.image_paths import find_images

    images = find_images(sources)
    if not out.is_dir() or not any("**" in source for source in sources):
        return images
    written, folder = WrittenFiles(), out.absolute()
    outputs = {image for image in images if image.absolute().is_relative_to(folder) and written.has(image)}
    return [image for image in images if image not in outputs]


def _predict_all(
    options: Predict,
    images: Sequence[Path],
    predictor: "BasePredictor",
    format_writer: FormatWriter,
    predictions: list[Prediction],
) -> int:
    """Append a prediction for each readable image; return how many images could not be read, or drawn."""
    from rich.console import Console
    from rich.progress import track

    stderr = Console(stderr=True)
    no_bar = len(images) < _MIN_IMAGES_FOR_PROGRESS or VERBOSITY.quiet or not stderr.is_terminal
    names = unique_names(images, options.out, format_writer.paths, overwrite=options.overwrite)
    num_errors = 0
    with closing(predictor.stream(images, min_score=options.min_score)) as stream:
        named = zip(stream, names, strict=True)
        for item, name in track(named, "images", len(images), console=stderr, disable=no_bar):
            error: BlitzNetError | None = item.error
            if item.result is not None:
                result = item.result.filter(classes=options.classes) if options.classes else item.result
                prediction, error = _write(item, result, options.out, name, format_writer)
                predictions.append(prediction)
            if error is not None:
                num_errors += 1
                print(f"blitznet: error: {error}", file=sys.stderr)
    return num_errors


def _write(
    item: "StreamResult", result: "Result", folder: Path, name: str, format_writer: FormatWriter
) -> tuple[Prediction, BlitzNetError | None]:
    """Write the files of one image; its prediction is kept where one of them cannot be written."""
    from blitznet.runtime.preprocess import as_image_source

    annotated_path, class_map_path = _output_paths(folder, name)
    entry = {"path": as_image_source(item.source).name, **result.to_dict(), "class_map": None}
    failure = None
    try:
        if result.class_map is not None:
            _write_class_map(result.class_map, class_map_path)
            entry["class_map"] = str(class_map_path)
        result.save(annotated_path)
        record_written(annotated_path)
        format_writer.add(Path(str(item.source)), name, result)
    except BlitzNetError as error:
        failure = error
    return Prediction(entry, _summarize(result), item.seconds), failure


def _write_class_map(class_map: "ClassMap", path: Path) -> None:
    from blitznet.drawing.annotate import palette_png

    with atomic_path(path, durable=False) as temporary, translate_write_errors(path):
        palette_png(class_map).save(temporary)
    record_written(path)


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


def unique_names(
    images: Sequence[Path], folder: Path, other_paths: Callable[[str], Sequence[Path]], *, overwrite: bool
) -> Iterator[str]:
    """A stem for each image's output files, with a number where a file of that name may not be written.

    That is a file of another image, a source image, or a file that the package did not write. The time is proportional
    to the number of images, also if all have one name: numbers that were tried are not tried again.

    Args:
        images: The source images.
        folder: The output folder.
        other_paths: Further files that are written for a stem.
        overwrite: Whether files that the package did not write are replaced.
    """
    sources = _names_in(folder, images)
    used: set[str] = set()
    next_numbers: dict[str, int] = {}
    written = WrittenFiles()

    def is_free(name: str) -> bool:
        paths = _output_paths(folder, name)
        if name in used or any(path.name in sources for path in paths):
            return False
        existing = [path for path in (*paths, *other_paths(name)) if not overwrite and os.path.lexists(path)]
        return all(written.has(path) for path in existing)

    for image in images:
        number = next_numbers.get(image.stem, 1)
        while not is_free(name := image.stem if number == 1 else f"{image.stem}-{number}"):
            number += 1
        next_numbers[image.stem] = number + 1
        used.add(name)
        yield name


def _names_in(folder: Path, images: Sequence[Path]) -> frozenset[str]:
    """Names of the images that are in a folder; only folders of images whose names are there are compared with it."""
    present = frozenset(path.name for path in folder.iterdir()) if folder.is_dir() else frozenset()
    if not present:
        return frozenset()
    resolved = folder.resolve()

    @cache
    def is_folder(parent: str) -> bool:
        return Path(parent).resolve() == resolved

    return frozenset(image.name for image in images if image.name in present and is_folder(str(image.parent)))


def _print_table(console: "Console", predictions: list[Prediction], json_path: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("image", overflow="fold")
    table.add_column("detections")
    table.add_column("ms", justify="right")
    for prediction in predictions[:MAX_ROWS]:
        path = Text(one_line(_relative(prediction.entry["path"])))
        table.add_row(path, Text(prediction.summary), f"{prediction.seconds * 1000:.0f}")
    console.print(table)
    if len(predictions) > MAX_ROWS:
        print(f"... and {len(predictions) - MAX_ROWS} more, all in {json_path}")
