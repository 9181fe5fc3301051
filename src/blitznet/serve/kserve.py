"""KServe's V2 inference protocol (Open Inference Protocol), in JSON and with binary tensors.

The input is an image as UINT8 (H, W, 3), or the bytes of an image file: as they are in a binary tensor, in base64 in
JSON. The request parameter `min_score` is that of the query of `/v1/predict`. Every field is read or refused.
"""

import json
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from blitznet.core.errors import shown
from blitznet.core.image import ImageSource
from blitznet.core.spec import Task
from blitznet.postprocess.result import Result
from blitznet.serve.limits import ServeLimits
from blitznet.serve.payload import decode_base64, parse_json, read_image
from blitznet.serve.request import MIN_SCORE, decode_image, require_pixels
from blitznet.serve.response import json_numbers
from blitznet.serve.service import Call, Reply, Service

INPUTS: list[dict[str, Any]] = [
    {"name": "image", "datatype": "UINT8", "shape": [-1, -1, 3]},
    {"name": "image_bytes", "datatype": "BYTES", "shape": [1]},
]
"""input tensors; a request has one of them"""
OUTPUTS: dict[Task, list[dict[str, Any]]] = {
    "detection": [
        {"name": "boxes", "datatype": "FP32", "shape": [-1, 4]},
        {"name": "scores", "datatype": "FP32", "shape": [-1]},
        {"name": "labels", "datatype": "INT64", "shape": [-1]},
    ],
    "segmentation": [{"name": "class_map", "datatype": "UINT8", "shape": [-1, -1]}],
}
"""output tensors of each task; a request may select some of them"""
_VERSION = "1"
"""the only version of the model"""
_CHUNK = 1 << 16
"""maximum number of values converted to an array in one call, which holds the GIL"""
_HEADER = "Inference-Header-Content-Length"
"""header with the length of the JSON that binary tensors follow"""
_MAX_JSON_VALUES = 10_000_000
"""maximum number of values of an output tensor in JSON, 20 to 40 MB"""
_DTYPES = {"FP32": "<f4", "INT64": "<i8", "UINT8": "u1"}
_REQUEST_FIELDS = ("id", "model_name", "model_version", "parameters", "inputs", "outputs")
_INPUT_FIELDS = ("name", "shape", "datatype", "parameters", "data")
_OUTPUT_FIELDS = ("name", "datatype", "shape", "parameters")


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output tensor that a client requests."""

    name: str
    binary: bool
    """whether its values follow the JSON as bytes"""


@dataclass(frozen=True, slots=True, eq=False)
class InferRequest:
    """A parsed inference request."""

    image: ImageSource
    outputs: list[RequestedOutput]
    min_score: float
    id: str | None

    @property
    def names(self) -> list[str]:
        """Names of the requested output tensors."""
        return [output.name for output in self.outputs]


def output_tensors(tasks: tuple[Task, ...]) -> list[dict[str, Any]]:
    """The output tensors of a model of these tasks."""
    return [tensor for task, tensors in OUTPUTS.items() if task in tasks for tensor in tensors]


def model_paths(name: str) -> tuple[str, str]:
    """The model's paths, without its version and with it."""
    return f"/v2/models/{name}", f"/v2/models/{name}/versions/{_VERSION}"


def routes(service: Service) -> list[BaseRoute]:
    """The routes of the protocol; the health checks are public."""
    spec = service.predictor.spec
    outputs = output_tensors(spec.tasks)

    async def live(_: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(_: Request) -> Response:
        return JSONResponse({"ready": service.pool.ready}, 200 if service.pool.ready else 503)

    async def server(_: Request) -> Response:
        metadata = {"name": "blitznet", "version": version("blitznet"), "extensions": ["binary_tensor_data"]}
        return JSONResponse(metadata)

    async def model(_: Request) -> Response:
        metadata = {"name": spec.name, "versions": [_VERSION], "platform": "blitznet"}
        return JSONResponse({**metadata, "inputs": INPUTS, "outputs": outputs})

    async def infer(call: Call) -> Reply:
        return await _infer(call, service, outputs)

    methods = {path: "GET, HEAD" for model in model_paths(spec.name) for path in (model, f"{model}/ready")}
    methods |= {f"{model}/infer": "POST" for model in model_paths(spec.name)}

    async def unknown_model(request: Request) -> Response:
        if allowed := methods.get(request.url.path):
            raise HTTPException(405, "Method Not Allowed", {"Allow": allowed})
        raise HTTPException(404, f"unknown model or version; this server has {spec.name}, version {_VERSION}")

    return [
        service.public_route("/v2/health/live", live),
        service.public_route("/v2/health/ready", ready),
        service.public_route("/v2", server),
        *(service.protected_route(path, model) for path in model_paths(spec.name)),
        *(service.public_route(f"{path}/ready", ready) for path in model_paths(spec.name)),
        *(service.call_route(f"{path}/infer", infer) for path in model_paths(spec.name)),
        Route("/v2/models/{path:path}", unknown_model, methods=["GET", "POST"], include_in_schema=False),
    ]


async def _infer(call: Call, service: Service, outputs: list[dict[str, Any]]) -> Reply:
    spec = service.predictor.spec
    call.require_query(())  # before the body is read
    content = await call.read_body()
    names = ("", spec.name), ("", _VERSION)
    infer_request = await call.parse(
        parse_infer_request, content, outputs, service.limits, call.headers.get(_HEADER), names
    )
    metadata: dict[str, Any] = {"model_name": spec.name, "model_version": _VERSION}
    if infer_request.id is not None:
        metadata["id"] = infer_request.id
    has_binary = any(output.binary for output in infer_request.outputs)

    def render(_: ImageSource, result: Result) -> bytes:
        header, tensors = render_tensors(metadata, result, infer_request.outputs)
        return struct.pack("<Q", len(header)) + header + tensors if has_binary else header

    (body,) = await call.predict(
        [infer_request.image], render, min_score=infer_request.min_score, class_map="class_map" in infer_request.names
    )
    if not has_binary:
        return Reply(body, "application/json")
    (length,) = struct.unpack_from("<Q", body)
    return Reply(body, "application/octet-stream", {_HEADER: str(length)}, start=8)


def parse_infer_request(
    content: bytes,
    outputs: list[dict[str, Any]],
    limits: ServeLimits,
    header_length: str | None = None,
    names: tuple[Sequence[str], Sequence[str]] = (("",), ("",)),
) -> InferRequest:
    """The request in a body.

    Args:
        content: The body: JSON, and binary tensors after it.
        outputs: The model's output tensors.
        limits: Limits of the image.
        header_length: The header with the length of the JSON; None for a body of JSON only.
        names: Valid values of model_name and model_version.

    Raises:
        HTTPException: 400 for an invalid request, 413 and 415 as `decode_image`.
    """
    length = _header_length(header_length, len(content))
    try:
        body = parse_json(content[:length])
    except (ValueError, RecursionError):
        raise HTTPException(400, "expected a request of the inference protocol, got a body that is not JSON") from None
    _require_object(body, "the request", _REQUEST_FIELDS)
    for field, valid in zip(("model_name", "model_version"), names, strict=True):
        if body.get(field, "") not in valid:
            raise HTTPException(400, f"{field}: expected {valid[-1]}")
    request_id = body.get("id")
    if not isinstance(request_id, str | None):
        raise HTTPException(400, f"id: expected a string, got {type(request_id).__name__}")
    parameters = _parameters(body, "parameters", (MIN_SCORE.name, "binary_data_output"))
    binary = _flag(parameters, "binary_data_output", False)
    requested = _parse_outputs(body.get("outputs"), outputs, binary)
    min_score = parameters.get(MIN_SCORE.name)
    if isinstance(min_score, dict | list):
        raise HTTPException(400, f"{MIN_SCORE.name}: expected {MIN_SCORE.expected}")
    query = {} if min_score is None else {MIN_SCORE.name: str(min_score)}
    score = MIN_SCORE.read(query)
    image = _parse_image(body.get("inputs"), content[length:], limits)
    height, width = image.size()
    in_json = any(output.name == "class_map" and not output.binary for output in requested)
    if in_json and height * width > _MAX_JSON_VALUES:
        raise HTTPException(
            413,
            f"class_map: expected at most {_MAX_JSON_VALUES:,} pixels in JSON, got {width}x{height}; "
            "request it with binary_data, or only other outputs",
        )
    return InferRequest(image, requested, score, request_id)


def _header_length(text: str | None, size: int) -> int:
    if text is None:
        return size
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= size):
        raise HTTPException(400, f"{_HEADER}: expected the length of the JSON, at most {size}, got {text[:100]!r}")
    return int(text)


def _require_object(value: Any, name: str, fields: Sequence[str]) -> None:
    """Refuse what is no object, or has other fields."""
    if not isinstance(value, dict):
        raise HTTPException(400, f"{name}: expected an object of the inference protocol")
    if unknown := [field for field in value if field not in fields]:
        raise HTTPException(400, f"{name}: unknown field {unknown[0][:100]}; expected {', '.join(fields)}")


def _parameters(tensor: dict[str, Any], name: str, fields: Sequence[str]) -> dict[str, Any]:
    parameters = tensor.get("parameters")
    if parameters is None:
        return {}
    _require_object(parameters, name, fields)
    return dict(parameters)


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise HTTPException(400, f"{name}: expected true or false")
    return value


def _parse_outputs(entries: Any, outputs: list[dict[str, Any]], binary: bool) -> list[RequestedOutput]:
    """The requested output tensors; all of them if a request names none."""
    available = [tensor["name"] for tensor in outputs]
    if entries is None or entries == []:
        return [RequestedOutput(name, binary) for name in available]
    if not isinstance(entries, list):
        raise HTTPException(400, "outputs: expected a list")
    requested: list[RequestedOutput] = []
    for entry in entries:
        _require_object(entry, "outputs", _OUTPUT_FIELDS)
        name = entry.get("name")
        if name not in available:
            raise HTTPException(400, f"outputs: expected names from {', '.join(available)}, got {shown(name)}")
        if name in [output.name for output in requested]:
            raise HTTPException(400, f"outputs: expected {name} once")
        _require_declared(entry, outputs[available.index(name)])
        parameters = _parameters(entry, f"outputs: parameters of {name}", ("binary_data",))
        requested.append(RequestedOutput(name, _flag(parameters, "binary_data", binary)))
    return requested


def _require_declared(entry: dict[str, Any], tensor: dict[str, Any]) -> None:
    """Refuse a datatype or shape of a requested output that is not the declared one; -1 is any number."""
    for field in ("datatype", "shape"):
        value, declared = entry.get(field), tensor[field]
        fits = value in (None, declared)
        if field == "shape" and isinstance(value, list) and len(value) == len(declared):
            fits = all(-1 in (side, size) or side == size for side, size in zip(value, declared, strict=True))
        if not fits:
            raise HTTPException(400, f"outputs: {tensor['name']}: expected {field} {declared}, got {shown(value)}")


def _parse_image(inputs: Any, content: bytes, limits: ServeLimits) -> ImageSource:
    """The image of the one input tensor; `content` is what follows the JSON."""
    expected = "inputs: expected one input, image or image_bytes"
    if not isinstance(inputs, list):
        raise HTTPException(400, f"{expected}, got no list")
    if len(inputs) != 1:
        raise HTTPException(400, f"{expected}, got {len(inputs)}")
    tensor = inputs[0]
    _require_object(tensor, "inputs", _INPUT_FIELDS)
    name = tensor.get("name")
    declared = next((entry for entry in INPUTS if entry["name"] == name), None)
    if declared is None:
        raise HTTPException(400, f"{expected}, got {shown(name)}")
    if tensor.get("datatype") != declared["datatype"]:
        raise HTTPException(
            400, f"{name}: expected datatype {declared['datatype']}, got {shown(tensor.get('datatype'))}"
        )
    shape = _parse_shape(tensor, name)
    size = _parameters(tensor, f"inputs: parameters of {name}", ("binary_data_size",)).get("binary_data_size")
    if size is None:
        if "data" not in tensor:
            raise HTTPException(400, f"{name}: expected data, or binary_data_size")
        if content:
            raise HTTPException(400, f"expected nothing after the JSON, got {len(content)} bytes")
    elif "data" in tensor:
        raise HTTPException(400, f"{name}: expected data or binary_data_size, got both")
    elif not isinstance(size, int) or isinstance(size, bool) or size != len(content):
        raise HTTPException(400, f"{name}: expected binary_data_size bytes after the JSON, got {len(content)}")
    if name == "image_bytes":
        data = _json_file(tensor["data"]) if size is None else _binary_file(content)
        return decode_image(data, limits)
    return _pixels(tensor["data"] if size is None else content, shape, limits)


def _parse_shape(tensor: dict[str, Any], name: str) -> list[int]:
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not all(type(side) is int and 0 <= side < 2**31 for side in shape):
        raise HTTPException(400, f"{name}: expected a shape of integers from 0 on")
    if name == "image_bytes":
        if len(shape) > 2 or math.prod(shape) != 1:  # the product of a long shape takes hours
            raise HTTPException(400, f"image_bytes: expected one image, shape [1], got shape {shape[:8]}")
    elif len(shape) not in (3, 4) or shape[-1] != 3 or shape[:-3] not in ([], [1]) or not math.prod(shape):
        raise HTTPException(400, f"image: expected one image of shape (H, W, 3), got {shape[:8]}")
    return shape[-3:]


def _json_file(data: Any) -> bytes:
    """The file of JSON data: one text in base64, in one or two lists."""
    while isinstance(data, list):
        if len(data) != 1:
            raise HTTPException(400, f"image_bytes: expected one image, got {len(data)}")
        data = data[0]
    if not isinstance(data, str):
        raise HTTPException(400, "image_bytes: expected data of one image in base64")
    try:
        return decode_base64(data)
    except ValueError:
        raise HTTPException(400, "image_bytes: expected data of one image in base64") from None


def _binary_file(content: bytes) -> bytes:
    """The file of a binary BYTES tensor: four bytes of its length, and its bytes."""
    if len(content) < 4 or struct.unpack_from("<I", content)[0] != len(content) - 4:
        raise HTTPException(400, "image_bytes: expected one element, its length in 4 bytes and its bytes")
    return read_image(content[4:], "").images[0]


def _pixels(data: Any, shape: list[int], limits: ServeLimits) -> ImageSource:
    """The image of pixel values in JSON, or of their bytes."""
    height, width, _ = shape
    require_pixels(height, width, limits)
    if isinstance(data, bytes):
        if len(data) != math.prod(shape):
            raise HTTPException(400, f"image: expected {math.prod(shape):,} bytes for {shape}, got {len(data):,}")
        return ImageSource(np.frombuffer(data, np.uint8).reshape(shape))
    expected = f"image: expected {math.prod(shape):,} integers 0 to 255 for {shape}"
    try:
        values, lists = _to_array(data)
    except (ValueError, OverflowError):
        raise HTTPException(400, expected) from None
    if len(values) != math.prod(shape):
        raise HTTPException(400, f"{expected}, got {len(values):,} values")
    if len(lists) > 1 and lists[-3:] != shape:
        raise HTTPException(400, f"{expected}, got lists of shape {lists[:8]}")
    if values.min() < 0 or values.max() > 255:
        raise HTTPException(400, f"{expected}, got values {values.min()} to {values.max()}")
    return ImageSource(values.reshape(shape).astype(np.uint8))


def _to_array(data: Any) -> tuple[NDArray[np.int64], list[int]]:
    """A flat or nested list of integers as a flat array, and the shape of the lists.

    numpy would accept other types, and give each text of a list the length of the longest one. The values are
    converted in chunks so that other threads run in between.

    Raises:
        ValueError: The lists have different lengths, or contain anything but integers.
        OverflowError: An integer is too large.
    """
    if not isinstance(data, list):
        raise ValueError("expected a list")
    shape = [len(data)]
    while data and isinstance(data[0], list):
        if _types(data) != {list} or len(set(map(len, data))) != 1:
            raise ValueError("expected lists of equal lengths")
        shape.append(len(data[0]))
        data = [value for chunk in _chunks(data) for value in chain.from_iterable(chunk)]
    if _types(data) != {int}:
        raise ValueError("expected integers")
    return np.concatenate([np.array(chunk, np.int64) for chunk in _chunks(data)]), shape


def _types(values: list[Any]) -> set[type]:
    return {kind for chunk in _chunks(values) for kind in set(map(type, chunk))}


def _chunks(values: list[Any]) -> Iterator[list[Any]]:
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))


def render_tensors(metadata: dict[str, Any], result: Result, outputs: Sequence[RequestedOutput]) -> tuple[bytes, bytes]:
    """The JSON of a response and the binary tensors after it.

    Args:
        metadata: Further fields of the JSON.
        result: The prediction.
        outputs: Requested tensors; they are returned in the protocol's order.
    """
    arrays: dict[str, NDArray[Any]] = {"boxes": result.boxes, "scores": result.scores, "labels": result.labels}
    requested = {output.name: output.binary for output in outputs}
    if "class_map" in requested and result.class_map is not None:
        arrays["class_map"] = result.class_map
    tensors, binary = [], []
    for tensor in output_tensors(tuple(OUTPUTS)):
        name = tensor["name"]
        if name not in requested or name not in arrays:
            continue
        array = np.ascontiguousarray(arrays[name], _DTYPES[tensor["datatype"]])
        entry = {**tensor, "shape": list(array.shape)}
        if requested[name]:
            binary.append(array.tobytes())
            tensors.append(json.dumps({**entry, "parameters": {"binary_data_size": array.nbytes}}).encode())
        else:
            tensors.append(json.dumps(entry)[:-1].encode() + b', "data": [' + json_numbers(array) + b"]}")
    header = json.dumps(metadata)[:-1].encode() + b', "outputs": [' + b", ".join(tensors) + b"]}"
    return header, b"".join(binary)
