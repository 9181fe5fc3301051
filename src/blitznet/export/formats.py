"""The kinds of file a network can be written as, in one way each."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from torch import nn

from blitznet.core.arrays import RGBArray
from blitznet.core.errors import UsageError
from blitznet.core.spec import Precision, Spec
from blitznet.export.onnx import raw_model, with_finishing, write_onnx
from blitznet.export.openvino import write_openvino
from blitznet.export.program import export_program

if TYPE_CHECKING:
    from onnx import ModelProto

Format = Literal["onnx", "openvino", "torch"]

SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "openvino": ".openvino", "torch": ".pt2"}
"""what the files' names end in"""
LEAST_SIDE = 32
"""pixels"""


def export_spec(spec: Spec, *, precision: Precision = "float32", size: tuple[int, int] | None = None) -> Spec:
    """The contract of a file: the network's, for a precision and, if given, for images of another (height, width).

    The network is fully convolutional and its anchors are fractions of the image, so any size does.
    """
    if size is not None and min(size) < LEAST_SIDE:
        raise UsageError(f"--size: expected {LEAST_SIDE} pixels or more a side, got {size[1]}x{size[0]}")
    return replace(spec, precision=precision, size=size or spec.size)


def require_possible(spec: Spec, to: Format, *, nms: bool, calibrated: bool) -> None:
    """Raise UsageError for what cannot be written, before any work is done."""
    if nms and "detection" not in spec.tasks:
        raise UsageError(f"--nms: {spec.name} finds no boxes, so there are none to suppress; leave it out")
    if spec.precision == "int8" and to == "torch":
        raise UsageError("--precision: a torch program is float32 or bfloat16; for int8 choose --to onnx or openvino")
    if (spec.precision == "int8") != calibrated:
        expected = (
            "images to measure ranges on" if spec.precision == "int8" else "no images for other precisions than int8"
        )
        raise UsageError(f"--calibrate: expected {expected}, got {'some' if calibrated else 'none'}")


def export(
    net: nn.Module, spec: Spec, path: Path, to: Format = "onnx", *, nms: bool = False, images: Sequence[RGBArray] = ()
) -> None:
    """Write the network as one file with its contract, in the contract's precision and for its size.

    `nms` puts the post-processing inside. Images (h, w, 3) uint8 RGB of the contract's size are what int8 is
    calibrated on. The network is left in evaluation mode, on the CPU.
    Raises UsageError for what cannot be written or written to, MissingExtra where a package is missing.
    """
    require_possible(spec, to, nms=nms, calibrated=bool(images))
    if to == "torch":
        export_program(net, spec, path, nms=nms)
        return
    model = raw_model(net, spec)
    if spec.precision == "int8":
        model = _quantised(model, spec, images)
    if nms:
        model = with_finishing(model, net, spec)
    (write_onnx if to == "onnx" else write_openvino)(model, spec, path)


def _quantised(model: "ModelProto", spec: Spec, images: Sequence[RGBArray]) -> "ModelProto":
    import onnx

    from blitznet.export.quantize import quantize_onnx

    with TemporaryDirectory() as folder:
        source, target = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
        write_onnx(model, spec, source)
        quantize_onnx(source, target, images, spec)
        return onnx.load(target)
