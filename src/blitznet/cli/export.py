"""`blitznet export`: a trained model as one file for another runtime, and the proof that it answers the same."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from blitznet.cli.console import stdout
from blitznet.cli.files import prepare_files
from blitznet.cli.flags import metavar, weights_file
from blitznet.core.errors import DataError, UsageError
from blitznet.core.files import atomic_path
from blitznet.core.models import MODELS
from blitznet.core.spec import Precision

if TYPE_CHECKING:
    from rich.table import Table
    from torch import nn

    from blitznet.core.image import ImageSource
    from blitznet.core.spec import Spec
    from blitznet.export.verify import Parity
    from blitznet.metrics.evaluate import Dataset

TO_VERIFY, TO_VERIFY_ROUNDED, TO_CALIBRATE, TO_SCORE = 20, 100, 300, 200
"""images of a data set, or of a list, that are compared (those of lower precisions), calibrated or scored on"""


@dataclass(frozen=True)
class Export:
    """Write a trained model as one file for `predict`, `eval`, `bench`, or any other runtime.

    The file takes uint8 RGB images, carries its whole contract, and is kept only if it answers as the network does.
    """

    model: Annotated[str, tyro.conf.Positional, metavar("MODEL")]
    """A .safetensors file, a run folder, or the name of a model of the package."""
    to: Literal["onnx", "openvino", "torch"] = "onnx"
    """.onnx runs on onnxruntime and OpenVINO, .openvino on OpenVINO alone, .pt2 (torch.export) on torch."""
    precision: Precision = "float32"
    """What the file is computed in. bfloat16 is for OpenVINO and torch; int8 wants --calibrate."""
    calibrate: Annotated[tuple[str, ...], metavar("SOURCE [SOURCE ...]")] = ()
    """What to measure int8's ranges on: images, folders, globs, or sets FORMAT:ROOT@SPLIT, of which 300 are taken."""
    accuracy: Annotated[tuple[str, ...], metavar("FORMAT:ROOT@SPLIT [...]")] = ()
    """Sets to score an int8 file on, beside float32. Not given: 200 images of each set of --calibrate that were not
    calibrated on."""
    allow_drop: bool = False
    """Keep a bfloat16 or int8 file even if it answers too differently or loses more than a point of pooled AP50 or
    mean IoU."""
    nms: bool = False
    """Put the post-processing into the file, which then answers boxes, scores, labels, count and class map."""
    size: Annotated[str, metavar("WxH")] = ""
    """Pixels the network is fed. Not given: what it was trained at."""
    out: Annotated[Path | None, metavar("FILE")] = None
    """Not given: the model's name, beside it; that of a model of the package in the working folder."""
    verify: Annotated[tuple[str, ...], metavar("SOURCE [SOURCE ...]")] = ()
    """What to compare on, as for --calibrate, of which 20 are taken, 100 for bfloat16 and int8. Not given: what it was
    calibrated on, or else the sample images of the package."""


def run(options: Export) -> int:
    """Export, verify, and say how close the two are."""
    from blitznet.export.formats import export, export_spec, require_possible
    from blitznet.export.verify import verify
    from blitznet.nets.model_files import load_model

    weights = weights_file(options.model)
    out = _out(options, weights)
    prepare_files(out)
    size = _size(options.size) if options.size else None
    net, spec = load_model(weights)
    spec = export_spec(spec, precision=options.precision, size=size)
    require_possible(spec, options.to, nms=options.nms, calibrated=bool(options.calibrate))
    exact = options.precision == "float32"
    image_sources = _images(options.verify or options.calibrate, TO_VERIFY if exact else TO_VERIFY_ROUNDED)
    calibration = _images(options.calibrate, TO_CALIBRATE) if options.calibrate else []
    images = [image.resize(spec.size) for image in calibration]
    judges = _judges(options, spec) if options.precision == "int8" else []
    with atomic_path(out) as fresh:
        export(net, spec, fresh, options.to, nms=options.nms, images=images)
        parity = verify(fresh, net, spec, image_sources, nms=options.nms, forgive=options.allow_drop)
        stdout().print(_parity_table(parity))
        if judges:
            _judge(net, spec, fresh, options, judges)
    if options.precision == "int8" and not judges:
        print("accuracy: not measured, name labelled sets with --accuracy")
    print(f"model: {out} ({out.stat().st_size / 1e6:.1f} MB)   compared on {len(images)} images")
    return 0


def _judges(options: Export, spec: "Spec") -> "list[Dataset]":
    """Labelled images that an int8 file is scored on: none that it was calibrated on."""
    from blitznet.data.sources import open_sources
    from blitznet.export.accuracy import without

    if options.accuracy:
        return list(open_sources(options.accuracy, spec.classes))
    sets = open_sources(tuple(source for source in options.calibrate if _is_set(source)), spec.classes)
    return [without(one, _evenly(len(one), TO_CALIBRATE), TO_SCORE) for one in sets]


def _judge(net: "nn.Module", spec: "Spec", out: Path, options: Export, sets: "list[Dataset]") -> None:
    """Print what the file loses and gains beside float32; refuse it if it loses too much."""
    from blitznet.export.accuracy import accuracy_change, accuracy_table, require_accuracy
    from blitznet.export.formats import export, export_spec
    from blitznet.export.verify import engine_for

    with TemporaryDirectory() as folder:
        floats = Path(folder, "float32").with_suffix(out.suffix)
        plain = export_spec(spec, precision="float32")
        export(net, plain, floats, options.to, nms=options.nms)
        change = accuracy_change(engine_for(floats, plain), engine_for(out, spec), sets)
    stdout().print(accuracy_table(change, "float32", "int8"))
    if not options.allow_drop:
        require_accuracy(change, out)


def _out(options: Export, weights: Path) -> Path:
    """The file to write: what sets it apart from the plain one is in its name."""
    from blitznet.export.formats import SUFFIXES

    suffix = SUFFIXES[options.to]
    if options.out is None:
        marks = [options.precision if options.precision != "float32" else "", options.size, "nms" * options.nms]
        name = "-".join([weights.stem, *filter(None, marks)]) + suffix
        return Path(name) if options.model in MODELS else weights.with_name(name)
    if options.out.suffix != suffix:
        raise UsageError(f"--out: expected a file that ends in {suffix}, got {options.out}")
    return options.out


def _size(text: str) -> tuple[int, int]:
    """(height, width) of WxH."""
    width, cross, height = text.partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise UsageError(f"--size: expected WxH such as 320x240, got '{text}'")
    return int(height), int(width)


def _images(sources: tuple[str, ...], most: int) -> "list[ImageSource]":
    """The images of each source, at most so many of each set, the samples if there are none."""
    from blitznet.core.image import ImageSource
    from blitznet.runtime.image_paths import find_images

    if not sources:
        return [ImageSource(path) for path in find_images()]
    images: list[ImageSource] = []
    for source in sources:
        images += (
            _images_of_set(source, most) if _is_set(source) else [ImageSource(path) for path in find_images([source])]
        )
    return [images[number] for number in _evenly(len(images), most)]


def _is_set(source: str) -> bool:
    """What is no file and begins with a format's name is a data set."""
    from blitznet.data.sources import FORMATS

    form, colon, _ = source.partition(":")
    return bool(colon) and form in FORMATS and not Path(source).exists()


def _images_of_set(text: str, most: int) -> "list[ImageSource]":
    from blitznet.data.sources import open_dataset, parse_source

    dataset = open_dataset(parse_source(text))
    if not len(dataset):
        raise DataError(f"{text}: there is no image in this set")
    return [dataset[number].image for number in _evenly(len(dataset), most)]


def _evenly(length: int, most: int) -> list[int]:
    """Up to `most` of so many places, evenly over all of them."""
    count = min(length, most)
    return [number * length // count for number in range(count)]


def _parity_table(parity: "Parity") -> "Table":
    """What was measured, each beside what is allowed."""
    from rich.table import Table

    table = Table("file against network", box=None, pad_edge=False)
    table.add_column("measured", justify="right")
    table.add_column("allowed", justify="right")
    for check in parity.checks:
        bound = "" if check.bound is None else f"{'>=' if check.least else '<='} {check.bound:.4g}"
        bound += ", missed" * (check.excess > 1)
        table.add_row(check.what, f"{check.value:.4f}" if check.least else f"{check.value:.1e}", bound)
    return table
