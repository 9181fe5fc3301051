"""`blitznet predict`: images in; pictures, masks, JSON and a table out."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from blitznet.cli.console import stdout
from blitznet.cli.engines import EngineFlag, ThreadsFlag, ran
from blitznet.cli.files import make_folders, prepare_files, write_json
from blitznet.cli.flags import metavar, read_tiles
from blitznet.cli.formats import Also, Form
from blitznet.core.errors import UsageError
from blitznet.core.files import translate_write_errors
from blitznet.core.models import DEFAULT

if TYPE_CHECKING:
    from rich.console import Console

    from blitznet.postprocess.result import Result
    from blitznet.runtime.stream import StreamResult

ROWS = 50
"""of the table; all of them are in the JSON"""
JSON = "predictions.json"
"""the list's name in the folder of results, unless another is asked for"""
_MANY = 5
_QUALITY = 92


@dataclass(frozen=True)
class Predict:
    """Find objects and a class for every pixel in images.

    Writes an annotated picture and a palette-PNG mask for each image, and one JSON list for all.
    """

    sources: Annotated[tuple[str, ...], tyro.conf.Positional, metavar("[SOURCE ...]")] = ()
    """Images, folders (the images directly in them) and quoted globs ('shots/**/*.jpg'). Not given: the sample
    images of the package."""
    model: str = DEFAULT
    """Name of a model of the package, an .onnx or .openvino file, or a .pt2 or .safetensors file or run folder (needs
    the extra `train`)."""
    score: float = 0.5
    """Leave out detections below this, 0 to 1."""
    out: Path = Path("blitznet-out")
    """Folder for pictures and masks; made if it is not there."""
    json: Annotated[Path | None, metavar("FILE")] = None
    """File for the JSON list. Not given: predictions.json in the folder of results."""
    also: tuple[Form, ...] = ()
    """Other tools to write for, each into a folder of its name: yolo, labelme, cvat, coco."""
    engine: EngineFlag = "auto"
    """What computes: onnxruntime, openvino, torch, torch-compiled, onnxruntime-cuda or onnxruntime-tensorrt.
    Not given: the fastest that is installed."""
    threads: ThreadsFlag = None
    """Threads of computing. Not given: one for each processor."""
    flip: tyro.conf.FlagCreatePairsOff[bool] = False
    """Look at each image twice, also left to right: a little better, in twice the time."""
    tiles: Annotated[str, metavar("RxC")] = ""
    """Look at rows x columns of overlapping tiles of each image as well: for large images with small things."""


@dataclass(frozen=True, slots=True)
class Done:
    """One image's outcome: its entry in the JSON list, and what the table says of it."""

    entry: dict[str, Any]
    found: str
    seconds: float
    """of decoding, network and boxes"""


def run(options: Predict) -> int:
    """Predict every image; 1 if one of them could not be read, which keeps no other from being done.

    The next images are decoded and looked at while one is drawn and written.
    """
    from rich.console import Console
    from rich.progress import track

    from blitznet.api import load
    from blitznet.runtime.image_paths import find_images

    if not 0 <= options.score <= 1:
        raise UsageError(f"--score: expected 0 to 1, got {options.score}")
    images = find_images(options.sources)
    predictor = load(
        options.model,
        engine=options.engine,
        threads=options.threads,
        flip=options.flip,
        tiles=read_tiles(options.tiles),
    )
    target = options.json or options.out / JSON
    make_folders(options.out)
    prepare_files(target)
    also = Also(options.out, options.also, predictor.spec.classes)
    errors = Console(stderr=True)
    done: list[Done] = []
    quiet = len(images) < _MANY or not errors.is_terminal
    names = _unique_names(images, options.out)
    with closing(predictor.stream(images, min_score=options.score)) as stream:
        for seen, name in track(zip(stream, names, strict=True), "Images", len(images), console=errors, disable=quiet):
            if seen.result is None:
                print(f"blitznet: error: {seen.error}", file=sys.stderr)
            else:
                done.append(_write(seen, seen.result, options.out, name))
                also.add(Path(str(seen.source)), name, seen.result)
    also.end()
    write_json(target, [one.entry for one in done])
    _print_table(stdout(), done, target)
    print(f"pictures and masks: {options.out}   JSON: {target}   {ran(predictor, options.threads)}")
    return 0 if len(done) == len(images) else 1


def _write(seen: "StreamResult", result: "Result", folder: Path, name: str) -> Done:
    """Write the picture and the mask of one image."""
    from PIL import Image

    from blitznet.drawing.annotate import annotate, palette_png
    from blitznet.runtime.preprocess import as_image_source

    image = as_image_source(seen.source)
    picture, mask = _outputs(folder, name)
    with translate_write_errors(folder):
        Image.fromarray(annotate(image.read(), result)).save(picture, quality=_QUALITY)
        if result.class_map is not None:
            palette_png(result.class_map).save(mask)
    entry = {"path": image.name, **result.to_dict(), "mask": None if result.class_map is None else str(mask)}
    return Done(entry=entry, found=_summary(result), seconds=seen.seconds)


def _summary(result: "Result") -> str:
    """`2 person, cat`: how many of each class, the surest first."""
    counts = Counter(result.class_names[label] for label in result.labels)
    return ", ".join(name if count == 1 else f"{count} {name}" for name, count in counts.items()) or "-"


def _short(path: str) -> str:
    """The path as one would type it here."""
    return str(Path(path).relative_to(Path.cwd())) if Path(path).is_relative_to(Path.cwd()) else path


def _outputs(folder: Path, name: str) -> tuple[Path, Path]:
    """Where a image's picture and mask go."""
    return folder / f"{name}.jpg", folder / f"{name}-mask.png"


def _unique_names(images: list[Path], folder: Path) -> Iterator[str]:
    """A name for each image's outputs: its own, numbered where two would share it or a image would be overwritten.

    In a folder that images are taken from, whatever is there already may be one: nothing is overwritten.
    """
    taken = {image.resolve() for image in images}
    precious = folder.resolve() in {image.parent.resolve() for image in images}
    for image in images:
        name, number = image.stem, 2
        while taken & {path.resolve() for path in _outputs(folder, name)} or (
            precious and any(path.exists() for path in _outputs(folder, name))
        ):
            name, number = f"{image.stem}-{number}", number + 1
        taken |= {path.resolve() for path in _outputs(folder, name)}
        yield name


def _print_table(console: "Console", done: list[Done], target: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("image", overflow="fold")
    table.add_column("found")
    table.add_column("ms", justify="right")
    for one in done[:ROWS]:
        table.add_row(Text(_short(one.entry["path"])), Text(one.found), f"{one.seconds * 1000:.0f}")
    console.print(table)
    if len(done) > ROWS:
        print(f"... and {len(done) - ROWS} more, all in {target}")
