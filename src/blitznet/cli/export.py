"""`blitznet export`: write a trained model as one file for another runtime, and verify it."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from blitznet.cli.console import progress_bars, stdout_console
from blitznet.cli.files import prepare_files
from blitznet.cli.flags import Imgsz, OverwriteFlag, metavar, parse_imgsz
from blitznet.core.spec import Precision

if TYPE_CHECKING:
    from rich.table import Table

    from blitznet.export.accuracy import AccuracyChange
    from blitznet.export.verify import ParityReport


@dataclass(frozen=True)
class Export:
    """Export a trained model to ONNX, OpenVINO, torch.export, ncnn, Core ML or a model repository of Triton.

    The file takes uint8 RGB images and contains its spec; for ncnn the spec is beside it. The file is kept only if its
    outputs agree with the network's. Core ML predicts on Apple's systems only, so there the outputs are not compared.

    Examples:
        blitznet export blitznet300-lite
        blitznet export runs/mine --to openvino --precision bfloat16 --imgsz 416
        blitznet export runs/mine --precision int8 --calibration-data voc:VOCdevkit/VOC2012@train --nms
    """

    model: Annotated[str, tyro.conf.Positional, metavar("MODEL")]
    """Name of a model in the package, a .safetensors file, or the folder of a training run."""
    to: Annotated[Literal["onnx", "openvino", "torch", "triton", "ncnn", "coreml"], metavar("FORMAT")] = "onnx"
    """Format: onnx (.onnx, for onnxruntime and OpenVINO), openvino (.openvino), torch (.pt2, torch.export), triton (a
    folder for Triton Inference Server, with --nms), ncnn (.param and .bin) or coreml (.mlpackage). Default: onnx."""
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
    static: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help_behavior_hint="")] = False
    """Fix the batch to one image and replace computations of shapes by constants, for OpenCV, TVM and converters to
    TFLite. Default: any batch."""
    input: Annotated[Literal["uint8", "float32"], metavar("TYPE")] = "uint8"
    """Type of the pixels: uint8, or float32 for runtimes without uint8; their values are 0 to 255 in both. Default:
    uint8."""
    spec_json: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help_behavior_hint="")] = False
    """Also write the spec beside the file, with the suffix .json, for runtimes that cannot read metadata. Default: the
    file's metadata only, but always for ncnn."""
    imgsz: Imgsz = None
    """Input size in pixels: one number for a square, or height and width. Default: the model's."""
    out: Annotated[Path | None, metavar("FILE")] = None
    """File to write, or for triton the model's folder. Default: the model's name, in its folder; for a model in the
    package, in the working folder; for triton, in model_repository."""
    verify_images: Annotated[tuple[str, ...], metavar("SOURCE [SOURCE ...]")] = ()
    """Compare file and network on these images, given as for --calibration-data; 20 are used, or 100 for bfloat16 and
    int8. Not for coreml, whose outputs are not compared. Default: those of --calibration-data, or the sample images in
    the package."""
    overwrite: OverwriteFlag = False


def run(options: Export) -> int:
    """Export, verify and evaluate; print the measured differences."""
    from blitznet.export.exporter import ExportOptions, export_model, output_files, output_path

    values = {field.name: getattr(options, field.name) for field in fields(options) if field.name != "overwrite"}
    export_options = ExportOptions(**{**values, "imgsz": parse_imgsz(options.imgsz)})
    out = output_path(export_options)
    prepare_files(*output_files(export_options, out), overwrite=options.overwrite)
    console = stdout_console()
    with progress_bars() as progress:
        exported = export_model(
            export_options,
            on_parity=lambda report: console.print(_parity_table(report)),
            on_accuracy=lambda change: console.print(_accuracy_table(change, "float32", "int8")),
            progress=progress,
        )
    if exported.parity is None:
        print("outputs: not compared, Core ML predicts on Apple's systems only; names, shapes and types are checked")
    if options.precision == "int8" and exported.accuracy is None:
        print("accuracy: not measured, add labeled datasets with --eval-data")
    size = sum(path.stat().st_size for path in exported.files) / 1e6
    compared = "" if exported.parity is None else f"   compared on {exported.num_images} images"
    print(f"model: {exported.path} ({size:.1f} MB){compared}")
    return 0


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
