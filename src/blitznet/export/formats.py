"""The file formats that a network can be exported to."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from torch import nn

from blitznet.core.arrays import RGBArray
from blitznet.core.errors import UsageError
from blitznet.core.spec import Precision, Spec
from blitznet.export.coreml import PACKAGE_SUFFIX, write_coreml
from blitznet.export.ncnn import GRAPH_SUFFIX, write_ncnn
from blitznet.export.onnx import append_postprocess, to_onnx, write_onnx
from blitznet.export.openvino import write_openvino
from blitznet.export.portable import make_float_input, make_static, tidy
from blitznet.export.program import export_program

if TYPE_CHECKING:
    from onnx import ModelProto

Format = Literal["onnx", "openvino", "torch", "triton", "ncnn", "coreml"]
InputType = Literal["uint8", "float32"]

SUFFIXES: dict[Format, str] = {
    "onnx": ".onnx",
    "openvino": ".openvino",
    "torch": ".pt2",
    "triton": ".onnx",
    "ncnn": GRAPH_SUFFIX,
    "coreml": PACKAGE_SUFFIX,
}
"""suffix of the files of each format"""
_WITHOUT_VARIANTS: tuple[Format, ...] = ("torch", "ncnn", "coreml")
"""formats whose batch and type of pixels cannot be chosen"""
_RAW_FLOAT32: tuple[Format, ...] = ("ncnn", "coreml")
"""formats that have raw outputs and float32 only"""
MIN_SIZE = 32
"""smallest height and width of the input, pixels"""


def export_spec(spec: Spec, *, precision: Precision = "float32", size: tuple[int, int] | None = None) -> Spec:
    """The spec of an exported file.

    The network is fully convolutional and its anchors are fractions of the image, so its input size is free.

    Args:
        spec: The network's spec.
        precision: Numeric precision of the file.
        size: (height, width) of its input, pixels. Default: the network's.

    Raises:
        UsageError: The size is too small.
    """
    if size is not None and min(size) < MIN_SIZE:
        raise UsageError(f"--imgsz: expected {MIN_SIZE} pixels or more, got {size[0]} {size[1]}")
    return replace(spec, precision=precision, size=size or spec.size)


def require_exportable(
    spec: Spec, to: Format, *, nms: bool, calibrated: bool, static: bool = False, input_type: InputType = "uint8"
) -> None:
    """Raise UsageError for options that exclude each other, before any work is done."""
    if to in _WITHOUT_VARIANTS and (static or input_type != "uint8"):
        raise UsageError(f"--static, --input: expected --to onnx or openvino with them, got {to}; remove them")
    if to in _RAW_FLOAT32 and nms:
        raise UsageError(f"--nms: expected raw outputs for {to}, got NMS inside; remove --nms")
    if to in _RAW_FLOAT32 and spec.precision != "float32":
        raise UsageError(f"--precision: expected float32 for {to}, got {spec.precision}")
    if to == "triton" and static:
        raise UsageError("--static: expected a free batch for triton, which batches requests; remove --static")
    if to == "triton" and spec.precision == "bfloat16":
        raise UsageError("--precision: expected float32 or int8 for triton, got bfloat16")
    if nms and "detection" not in spec.tasks:
        raise UsageError(f"--nms: expected a model with the detection task, got {spec.name}; remove --nms")
    if spec.precision == "int8" and to == "torch":
        raise UsageError("--precision: expected float32 or bfloat16 for torch, got int8; add --to onnx or openvino")
    if (spec.precision == "int8") != calibrated:
        expected = "images for int8" if spec.precision == "int8" else f"no images for {spec.precision}"
        raise UsageError(f"--calibration-data: expected {expected}, got {'some' if calibrated else 'none'}")


def export(
    net: nn.Module,
    spec: Spec,
    path: Path,
    to: Format = "onnx",
    *,
    nms: bool = False,
    calibration_images: Sequence[RGBArray] = (),
    static: bool = False,
    input_type: InputType = "uint8",
) -> None:
    """Write a network as one file with its spec inside; for ncnn as two files without it, for Core ML as a folder.

    Args:
        net: The network. It is left in evaluation mode, on the CPU.
        spec: The spec of the file, from `export_spec`.
        path: The file to write.
        to: Its format.
        nms: Put post-processing inside.
        calibration_images: Images (h, w, 3) uint8 RGB of the spec's size, for int8 only.
        static: Fix the batch to one image, and replace computations of shapes by constants.
        input_type: Type of the pixels, which are 0 to 255 in both.

    Raises:
        UsageError: The options exclude each other, or the file cannot be written.
        ModelError: ncnn or Core ML lacks an operation of the network.
        MissingExtra: A package is not installed.
    """
    require_exportable(spec, to, nms=nms, calibrated=bool(calibration_images), static=static, input_type=input_type)
    if to == "torch":
        export_program(net, spec, path, nms=nms)
        return
    if to == "ncnn":
        write_ncnn(net, spec, path)
        return
    if to == "coreml":
        write_coreml(net, spec, path)
        return
    model = to_onnx(net, spec)
    if spec.precision == "int8":
        model = _quantize(model, spec, calibration_images)
    if nms:
        model = append_postprocess(model, net, spec)
    if input_type == "float32":
        make_float_input(model)
    if static:
        make_static(model)
    tidy(model)
    (write_openvino if to == "openvino" else write_onnx)(model, spec, path)


def _quantize(model: "ModelProto", spec: Spec, images: Sequence[RGBArray]) -> "ModelProto":
    import onnx

    from blitznet.export.quantize import quantize_onnx

    with TemporaryDirectory() as folder:
        source, target = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
        write_onnx(model, spec, source)
        quantize_onnx(source, target, images, spec)
        return onnx.load(target)
