"""Checks of a model file's content before and after an engine opens it: a file is believed only where it is checked."""

import mmap
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from blitznet.core.errors import ModelError
from blitznet.core.outputs import NMS_OUTPUT_NAMES, OUTPUT_NAMES, NmsOutputs, Outputs, outputs_from
from blitznet.core.spec import Spec

MAX_SPEC_BYTES = 1 << 20
"""bytes of a spec in a zip, at most; those of the package have about 2,000"""
Shape = Sequence[int | None]
"""sizes of the axes; None for one that is free"""
ZIP_ERRORS = (
    OSError,
    EOFError,
    KeyError,
    ValueError,
    OverflowError,
    RuntimeError,
    RecursionError,
    struct.error,
    BadZipFile,
)
"""of a damaged zip, or of its parts"""
KNOWN_OUTPUTS = frozenset((*OUTPUT_NAMES, *NMS_OUTPUT_NAMES, "class_map"))
"""names of all outputs of model files; others are not read"""
_FLOAT = ("float32",)
_MAX_ROUNDING = 1e-3
"""largest rounding error of a coordinate or score, fractions of 1"""
_NMS_TYPES = {"labels": ("int64", "int32"), "count": ("int64", "int32"), "class_map": ("uint8",)}
"""types of the outputs of a file with NMS inside that are not float32"""

_BYTES_FIELD = 2
"""protobuf's wire type of bytes, text and nested messages"""
_NESTED = {
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 10: "tensor", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
"""message of an ONNX file -> numbers of its fields that may contain a tensor, and their messages"""
_REFUSED = {
    "model": {20: "a graph for training", 25: "functions"},
    "attribute": {6: "a graph inside a node", 11: "a graph inside a node"},
    "tensor": {13: "external data", 14: "external data"},
}
"""message of an ONNX file -> numbers of its fields that are refused, and what they contain"""
_MARKS = (b"location", b"body", b"then_branch", b"else_branch")
"""bytes of every file that has external data or a graph inside a node; they are searched, which is fast"""


def require_plain_onnx(path: Path) -> None:
    """Refuse an ONNX file that could read other files or memory, or run without end; `export` never writes such files.

    External data may name any file or address. Loops, branches and functions, which may call themselves, are graphs
    besides the one of the network.

    Raises:
        ModelError: The file has external data or more than one graph, or cannot be read.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            is_marked = any(content.find(mark) >= 0 for mark in _MARKS)
            refused = _find_refused(content, range(len(content)), "model", deep=is_marked)
    except (OSError, ValueError, IndexError) as error:
        raise ModelError(f"{path}: expected an ONNX model, got another file ({error})") from error
    if refused is not None:
        raise ModelError(
            f"{path}: expected an ONNX model of one graph with all weights inside, got one with {refused}, which could "
            "read other files or run without end; export the model again"
        )


def _find_refused(content: mmap.mmap, message: range, kind: str, *, deep: bool) -> str | None:
    """What is refused in a message at these positions; without `deep`, messages inside it are skipped."""
    for number, value in _fields(content, message):
        refused = _REFUSED.get(kind, {}).get(number)
        if refused is not None and value != 0:  # a location of 0 is the default, inside the file
            return refused
        nested = _NESTED.get(kind, {}).get(number)
        if deep and nested is not None and isinstance(value, range):
            refused = _find_refused(content, value, nested, deep=deep)
            if refused is not None:
                return refused
    return None


def _fields(content: mmap.mmap, message: range) -> Iterator[tuple[int, int | range]]:
    """Number and value, or positions of the value, of each field of a protobuf message.

    Raises:
        ValueError: It is no such message.
    """
    position = message.start
    while position < message.stop:
        key, position = _varint(content, position, message.stop)
        if key >= 1 << 32:  # parsers of 32 bits take it for another field
            raise ValueError("a field number is too large")
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            value, position = _varint(content, position, message.stop)
            yield number, value
            continue
        if wire_type == _BYTES_FIELD:
            length, position = _varint(content, position, message.stop)
        elif wire_type in (1, 5):
            length = 8 if wire_type == 1 else 4
        else:
            raise ValueError("a field is of an unknown type")
        if length > message.stop - position:
            raise ValueError("a field is longer than the file")
        yield number, range(position, position + length)
        position += length


def _varint(content: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    """A number of variable length, and the position after it."""
    value = shift = 0
    while position < end:
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")
    raise ValueError("a number is cut")


def require_stored_parts(file: ZipFile) -> None:
    """Refuse a zip with compressed parts, which could be of any size, or parts that are longer than the file.

    Raises:
        BadZipFile: The file has such parts.
    """
    if any(part.compress_type != ZIP_STORED or part.file_size != part.compress_size for part in file.infolist()):
        raise BadZipFile("its parts are compressed")
    if any(part.header_offset + part.file_size > file.start_dir for part in file.infolist()):
        raise BadZipFile("a part is longer than the file")
    names = file.namelist()
    if len(set(names)) != len(names):
        raise BadZipFile("two of its parts have one name")


def require_matching_tensors(
    spec: Spec, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape], *, input_name: str, source: str
) -> None:
    """Check that a file's input and outputs are those of its spec, before anything of their size is computed.

    Args:
        spec: The spec in the file.
        inputs: Names and shapes of the file's inputs.
        outputs: Names and shapes of its outputs.
        input_name: Name of its only input.
        source: Name of the file, for errors.

    Raises:
        ModelError: A tensor is missing, or has another shape.
    """
    if set(inputs) != {input_name}:
        raise ModelError(f"{source}: expected one input '{input_name}', got {_listed(inputs)}")
    _require_shape(inputs[input_name], (None, *spec.size, 3), name=input_name, source=source)
    for name, shape in _expected_outputs(spec, outputs).items():
        if name not in outputs:
            raise ModelError(f"{source}: expected the output '{name}', got {_listed(outputs)}")
        _require_shape(outputs[name], shape, name=name, source=source)


def join_outputs(
    spec: Spec, parts: Sequence[Mapping[str, NDArray[Any]]], *, batch: int, source: str
) -> Outputs | NmsOutputs:
    """Collect what a model file returned, after a check that its arrays are those of its spec.

    Sizes that a file leaves free are known only now, and its numbers become indices and coordinates.

    Args:
        spec: The spec in the file.
        parts: Arrays by name, of consecutive runs.
        batch: B, number of images of all runs together.
        source: Name of the file, for errors.

    Raises:
        ModelError: An array is missing, has another shape or type, or contains an impossible value.
    """
    try:
        arrays = parts[0]
        if len(parts) > 1:
            arrays = {name: np.concatenate([part[name] for part in parts]) for name in arrays}
    except (KeyError, ValueError) as error:
        raise ModelError(f"{source}: expected outputs of one shape for all images, got several") from error
    has_nms = set(NMS_OUTPUT_NAMES) <= arrays.keys()
    for name, shape in _expected_outputs(spec, arrays).items():
        if name not in arrays:
            raise ModelError(f"{source}: expected the output '{name}', got {_listed(arrays)}")
        _require_shape(arrays[name].shape, (batch, *shape[1:]), name=name, source=source)
        _require_numbers(arrays[name], _NMS_TYPES.get(name, _FLOAT) if has_nms else _FLOAT, name=name, source=source)
        if not has_nms and 0 in arrays[name].shape[1:]:
            raise ModelError(f"{source}: expected numbers in {name}, got none; export the model again")
    outputs = outputs_from(arrays, source=source)
    if isinstance(outputs, NmsOutputs):
        _require_detections(outputs, len(spec.classes), source=source)
    return outputs


def _require_numbers(array: NDArray[Any], types: tuple[str, ...], *, name: str, source: str) -> None:
    """Refuse an array of another type, or with values that are not finite."""
    if array.dtype.name not in types:
        raise ModelError(
            f"{source}: expected {name} of {' or '.join(types)}, got {array.dtype.name}; export the model again"
        )
    # One pass instead of two: a sum of finite values overflows only where they are far beyond those of any network.
    with np.errstate(over="ignore", invalid="ignore"):
        is_finite = types != _FLOAT or bool(np.isfinite(array.sum()))
    if not is_finite:
        raise ModelError(
            f"{source}: expected finite numbers in {name}, got infinity or NaN; the weights are damaged, or too large "
            "for the precision of the engine"
        )


def _require_detections(outputs: NmsOutputs, num_classes: int, *, source: str) -> None:
    """Refuse coordinates outside the image, and labels, counts and pixels that are no classes or rows."""
    rows = outputs.scores.shape[1]
    if outputs.boxes.shape[1] != rows or outputs.labels.shape[1] != rows:
        raise ModelError(f"{source}: expected boxes, scores and labels of equal number, got different ones")
    pixels = np.zeros(1, np.uint8) if outputs.class_map is None else outputs.class_map
    for name, values, largest in (
        ("boxes", outputs.boxes, 1 + _MAX_ROUNDING),
        ("scores", outputs.scores, 1 + _MAX_ROUNDING),
        ("count", outputs.count, rows),
        ("labels", outputs.labels, num_classes - 1),
        ("class_map", pixels, num_classes),
    ):
        low, high = values.min(initial=0), values.max(initial=0)
        if low < -_MAX_ROUNDING or high > largest:
            raise ModelError(
                f"{source}: expected {name} of 0 to {int(largest)} by its spec, got {low if low < 0 else high:g}; "
                "export the model again"
            )


def _expected_outputs(spec: Spec, outputs: Collection[str]) -> dict[str, Shape]:
    """The shapes that the spec states, by name."""
    has_segmentation = "segmentation" in spec.tasks
    if set(NMS_OUTPUT_NAMES) <= set(outputs):
        expected: dict[str, Shape] = {"boxes": (None, None, 4), "scores": (None, None), "labels": (None, None)}
        return {**expected, "count": (None,), **({"class_map": (None, *spec.size)} if has_segmentation else {})}
    expected = {}
    if "detection" in spec.tasks:
        num_anchors = spec.anchors.num_anchors(spec.size)
        expected = {"offsets": (None, num_anchors, 4), "logits": (None, num_anchors, spec.num_channels)}
    if has_segmentation:
        name = "class_map" if "class_map" in outputs else "segmentation_logits"  # version 1, and since
        expected[name] = (None, spec.num_channels, None, None)
    return expected


def _require_shape(shape: Shape, expected: Shape, *, name: str, source: str) -> None:
    fits = len(shape) == len(expected) and all(
        size is None or required is None or size == required for size, required in zip(shape, expected, strict=True)
    )
    if not fits:
        raise ModelError(
            f"{source}: expected {name} of shape {_shape_text(expected)} by its spec, got {_shape_text(shape)}; "
            "export the model again"
        )


def _shape_text(shape: Shape) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"


def _listed(tensors: Iterable[str]) -> str:
    return ", ".join(sorted(tensors))[:200] or "none"
