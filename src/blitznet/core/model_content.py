"""Checks of a model file's content before and after an engine opens it: a file is believed only where it is checked."""

import mmap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from zipfile import ZIP_STORED, BadZipFile, ZipFile

from blitznet.core.errors import ModelError
from blitznet.core.outputs import NMS_OUTPUT_NAMES
from blitznet.core.spec import Spec

MAX_SPEC_BYTES = 1 << 20
"""bytes of a spec in a zip, at most; those of the package have about 2,000"""
Shape = Sequence[int | None]
"""sizes of the axes; None for one that is free"""

_BYTES_FIELD = 2
"""protobuf's wire type of bytes, text and nested messages"""
_NESTED = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
"""message of an ONNX file -> numbers of its fields that may contain a tensor, and their messages"""
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
"""numbers of the fields of a tensor whose numbers are outside the file"""


def require_no_external_data(path: Path) -> None:
    """Refuse an ONNX file that reads other files, or memory, when an engine opens it; `export` never writes such files.

    Raises:
        ModelError: The file has external data, or cannot be read.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            # The key of each entry of external data, so that most files are only searched.
            has_external = content.find(b"location") >= 0 and _has_external_data(memoryview(content[:]), "model")
    except (OSError, ValueError, IndexError, RecursionError) as error:
        raise ModelError(f"{path}: expected an ONNX model, got another file ({error})") from error
    if has_external:
        raise ModelError(
            f"{path}: expected an ONNX model with all weights inside, got one with external data, which could read "
            "other files; convert it to one file"
        )


def _has_external_data(message: memoryview, kind: str) -> bool:
    for number, value in _fields(message):
        if kind == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value)):
            return True
        nested = _NESTED.get(kind, {}).get(number)
        if nested is not None and isinstance(value, memoryview) and _has_external_data(value, nested):
            return True
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a protobuf message. Raises ValueError or IndexError if it is none."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire_type == _BYTES_FIELD:
            length, position = _varint(message, position)
        elif wire_type in (1, 5):
            length = 8 if wire_type == 1 else 4
        else:
            raise ValueError(f"wire type {wire_type}")
        if length > len(message) - position:
            raise ValueError("a field is longer than the file")
        yield number, message[position : position + length]
        position += length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """A number of variable length, and the position after it."""
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")


def require_stored_parts(file: ZipFile) -> None:
    """Refuse a zip with compressed parts, which could be of any size, or parts that are longer than the file.

    Raises:
        BadZipFile: The file has such parts.
    """
    if any(part.compress_type != ZIP_STORED or part.file_size != part.compress_size for part in file.infolist()):
        raise BadZipFile("its parts are compressed")
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


def _expected_outputs(spec: Spec, outputs: Mapping[str, Shape]) -> dict[str, Shape]:
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


def _listed(tensors: Mapping[str, Shape]) -> str:
    return ", ".join(sorted(tensors))[:200] or "none"
