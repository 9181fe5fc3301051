"""`blitznet export`: write a trained model as one file for another runtime, and verify it."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from blitznet.cli.console import progress_bars, stdout_console
from blitznet.cli.files import prepare_files
from blitznet.cli.flags import Imgsz, OverwriteFlag, metavar, parse_imgsz
from blitznet.core.errors import DataError, UsageError
from blitznet.core.files import atomic_path
from blitznet.core.model_paths import find_weights
from blitznet.core.models import MODELS
from blitznet.core.selection import evenly_spaced
from blitznet.core.spec import Precision

if TYPE_CHECKING:
    from rich.table import Table
    from torch import nn

    from blitznet.core.image import ImageSource
    from blitznet.core.sample import Dataset
    from blitznet.core.spec import Spec
    from blitznet.export.accuracy import AccuracyChange
    from blitznet.export.verify import ParityReport

MAX_CALIBRATION_IMAGES, MAX_EVAL_IMAGES = 300, 200
"""maximum number of images to measure int8 ranges on, and of each dataset to evaluate an int8 file on"""


@dataclass(frozen=True)
class Export:
    """Export a trained model to ONNX, OpenVINO or torch.export.

    The file takes uint8 RGB images and contains its spec. It is kept only if its outputs agree with the network's.

    Examples:
        blitznet export blitznet300-lite
        blitznet export runs/mine --to openvino --precision bfloat16 --imgsz 416
        blitznet export runs/mine --precision int8 --calibration-data voc:VOCdevkit/VOC2012@train --nms
    """

    model: Annotated[str, tyro.conf.Positional, metavar("MODEL")]
    """Name of a model in the package, a .safetensors file, or the folder of a training run."""
    to: Annotated[Literal["onnx", "openvino", "torch"], metavar("FORMAT")] = "onnx"
    """Format: onnx (.onnx, for onnxruntime and OpenVINO), openvino (.openvino) or torch (.pt2, torch.export). Default:
    onnx."""
    precision: Annotated[Precision, metavar("PRECISION")] = "float32"
    """Numeric precision: float32, bfloat16 (OpenVINO and torch) or int8 (onnx and openvino; needs --calibration-data).
    Default: float32."""
    calibration_data: Annotated[tuple[str, ...], metavar("SOURCE [SOURCE ...]")] = ()
    """Measure int8 ranges on these images: files, folders, globs, or datasets FORMAT:ROOT@SPLIT, of which 300 images
    are used. Default: none."""
    eval_data: Annotated[tuple[str, ...], metavar("FORMAT:ROOT@SPLIT [...]")] = ()
    """Evaluate an int8 file on these datasets, and float32 for comparison. Default: 200 images of each dataset of
    --calibration-data that are not used for calibration."""
    allow_accuracy_drop: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help_behavior_hint="")] = False
    """Keep a bfloat16 or int8 file even if its outputs differ too much, or AP50 or mean IoU drop by more than a point.
    Default: delete it."""
    nms: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help_behavior_hint="")] = False
    """Put decoding, NMS and the argmax of the class map into the file. Default: raw outputs."""
    imgsz: Imgsz = None
    """Input size in pixels: one number for a square, or height and width. Default: the model's."""
    out: Annotated[Path | None, metavar("FILE")] = None
    """File to write. Default: the model's name, in its folder; for a model in the package, in the working folder."""
    verify_images: Annotated[tuple[str, ...], metavar("SOURCE [SOURCE ...]")] = ()
    """Compare file and network on these images, given as for --calibration-data; 20 are used, or 100 for bfloat16 and
    int8. Default: those of --calibration-data, or the sample images in the package."""
    overwrite: OverwriteFlag = False


def run(options: Export) -> int:
    """Export, verify and evaluate; print the measured differences."""
    from blitznet.export.formats import export, export_spec, require_exportable
    from blitznet.export.verify import NUM_VERIFY_IMAGES, verify
    from blitznet.nets.model_files import load_model

    weights = find_weights(options.model)
    size = parse_imgsz(options.imgsz)
    out = _output_path(options, weights, size)
    prepare_files(out, overwrite=options.overwrite)
    net, spec = load_model(weights)
    spec = export_spec(spec, precision=options.precision, size=size)
    require_exportable(spec, options.to, nms=options.nms, calibrated=bool(options.calibration_data))
    num_images = NUM_VERIFY_IMAGES[options.precision]
    verify_images = _open_images(options.verify_images or options.calibration_data, num_images)
    calibration_sources = (
        _open_images(options.calibration_data, MAX_CALIBRATION_IMAGES) if options.calibration_data else []
    )
    calibration_images = [image.resize(spec.size) for image in calibration_sources]
    datasets = _open_eval_sets(options, spec) if options.precision == "int8" else []
    with atomic_path(out) as temporary:
        export(net, spec, temporary, options.to, nms=options.nms, calibration_images=calibration_images)
        strict = not options.allow_accuracy_drop
        report = verify(temporary, net, spec, verify_images, nms=options.nms, strict=strict)
        stdout_console().print(_parity_table(report))
        if datasets:
            _evaluate(net, spec, temporary, options, datasets)
    if options.precision == "int8" and not datasets:
        print("accuracy: not measured, add labeled datasets with --eval-data")
    print(f"model: {out} ({out.stat().st_size / 1e6:.1f} MB)   compared on {len(verify_images)} images")
    return 0


def _open_eval_sets(options: Export, spec: "Spec") -> "list[Dataset]":
    """Labeled images for the evaluation of an int8 file; calibration images are excluded."""
    from blitznet.data.sources import open_sources
    from blitznet.export.accuracy import subset_without

    if options.eval_data:
        return list(open_sources(options.eval_data, spec.classes))
    datasets = open_sources(tuple(source for source in options.calibration_data if _is_dataset(source)), spec.classes)
    return [
        subset_without(dataset, evenly_spaced(len(dataset), MAX_CALIBRATION_IMAGES), MAX_EVAL_IMAGES)
        for dataset in datasets
    ]


def _evaluate(net: "nn.Module", spec: "Spec", path: Path, options: Export, datasets: "list[Dataset]") -> None:
    """Print the change of accuracy and speed from float32; raise ModelError if accuracy drops too much."""
    from blitznet.export.accuracy import accuracy_change, require_accuracy
    from blitznet.export.formats import export, export_spec
    from blitznet.export.verify import engine_for

    with TemporaryDirectory() as folder, progress_bars() as progress:
        reference_path = Path(folder, "float32").with_suffix(path.suffix)
        reference_spec = export_spec(spec, precision="float32")
        export(net, reference_spec, reference_path, options.to, nms=options.nms)
        reference = engine_for(reference_path, reference_spec)
        change = accuracy_change(reference, engine_for(path, spec), datasets, progress)
    stdout_console().print(_accuracy_table(change, "float32", "int8"))
    if not options.allow_accuracy_drop:
        require_accuracy(change, path)


def _output_path(options: Export, weights: Path, size: tuple[int, int] | None) -> Path:
    """The file to write; precision, size and NMS are part of the default name."""
    from blitznet.export.formats import SUFFIXES

    suffix = SUFFIXES[options.to]
    if options.out is None:
        precision = options.precision if options.precision != "float32" else ""
        resolution = "" if size is None else f"{size[0]}x{size[1]}"
        name = "-".join(filter(None, [weights.stem, precision, resolution, "nms" * options.nms])) + suffix
        return Path(name) if options.model in MODELS else weights.with_name(name)
    if options.out.suffix != suffix:
        raise UsageError(f"--out: expected a file that ends in {suffix}, got {options.out}")
    return options.out


def _open_images(sources: tuple[str, ...], max_images: int) -> "list[ImageSource]":
    """The images of all sources, evenly spaced; the sample images if there are no sources."""
    from blitznet.core.image import ImageSource
    from blitznet.runtime.image_paths import find_images

    if not sources:
        return [ImageSource(path) for path in find_images()]
    images: list[ImageSource] = []
    for source in sources:
        if _is_dataset(source):
            images += _dataset_images(source, max_images)
        else:
            images += [ImageSource(path) for path in find_images([source])]
    return [images[index] for index in evenly_spaced(len(images), max_images)]


def _is_dataset(source: str) -> bool:
    """Whether a source is a dataset string: it starts with the name of a format and is not a file."""
    from blitznet.data.sources import DATASET_FORMATS

    name, colon, _ = source.partition(":")
    return bool(colon) and name in DATASET_FORMATS and not Path(source).exists()


def _dataset_images(text: str, max_images: int) -> "list[ImageSource]":
    from blitznet.data.sources import open_dataset, parse_source

    dataset = open_dataset(parse_source(text))
    if not len(dataset):
        raise DataError(f"{text}: expected images in this dataset, got none")
    return [dataset[index].image for index in evenly_spaced(len(dataset), max_images)]


def _parity_table(report: "ParityReport") -> "Table":
    """Each measured difference and its limit."""
    from rich.table import Table

    table = Table("file compared with network", box=None, pad_edge=False)
    table.add_column("measured", justify="right")
    table.add_column("allowed", justify="right")
    for check in report.checks:
        limit = "" if check.limit is None else f"{'>=' if check.is_minimum else '<='} {check.limit:.4g}"
        limit += ", failed" * (check.excess > 1)
        table.add_row(check.name, f"{check.value:.4f}" if check.is_minimum else f"{check.value:.1e}", limit)
    return table


def _accuracy_table(change: "AccuracyChange", before: str, after: str) -> "Table":
    """Scores in percent and milliseconds of two engines, under their names."""
    from rich.table import Table

    table = Table(f"on {change.num_images} images", box=None, pad_edge=False)
    for title in (before, after, "change"):
        table.add_column(title, justify="right")
    for name, drop in change.drops().items():
        scores = (change.before.scores[name], change.after.scores[name], -drop)
        table.add_row(f"{name}, percent", f"{100 * scores[0]:.1f}", f"{100 * scores[1]:.1f}", f"{100 * scores[2]:+.1f}")
    times = (change.before.milliseconds, change.after.milliseconds)
    table.add_row("network, ms", f"{times[0]:.1f}", f"{times[1]:.1f}", f"x {times[1] / times[0]:.2f}")
    return table
