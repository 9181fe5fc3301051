"""KServe's V2 inference protocol (Open Inference Protocol) in JSON.

The input is an image as UINT8 (H, W, 3), or the bytes of an image file in base64. The request parameter `min_score`
is that of the query of `/v1/predict`.
"""

import asyncio
import base64
import binascii
import json
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from blitznet.core.image import ImageSource
from blitznet.core.spec import Task
from blitznet.postprocess.result import Result
from blitznet.serve.limits import ServeLimits
from blitznet.serve.request import MIN_SCORE, decode_image, parse_json, read_body, require_pixels
from blitznet.serve.service import Service

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


@dataclass(frozen=True, slots=True, eq=False)
class InferRequest:
    """A parsed inference request."""

    image: ImageSource
    outputs: list[str]
    """names of the requested output tensors"""
    min_score: float
    id: str | None


def output_tensors(tasks: tuple[Task, ...]) -> list[dict[str, Any]]:
    """The output tensors of a model of these tasks."""
    return [tensor for task, tensors in OUTPUTS.items() if task in tasks for tensor in tensors]


def model_paths(name: str) -> tuple[str, str]:
    """The model's paths, without its version and with it."""
    return f"/v2/models/{name}", f"/v2/models/{name}/versions/{_VERSION}"


def routes(service: Service) -> list[Route]:
    """The routes of the protocol; the health checks are public."""
    spec = service.predictor.spec

    async def live(_: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(_: Request) -> Response:
        return JSONResponse({"ready": service.pool.open}, 200 if service.pool.open else 503)

    async def server(_: Request) -> Response:
        return JSONResponse({"name": "blitznet", "version": version("blitznet"), "extensions": []})

    async def model(_: Request) -> Response:
        metadata = {"name": spec.name, "versions": [_VERSION], "platform": "blitznet"}
        return JSONResponse({**metadata, "inputs": INPUTS, "outputs": output_tensors(spec.tasks)})

    async def infer(request: Request) -> Response:
        return await _infer(request, service)

    return [
        service.public_route("/v2/health/live", live),
        service.public_route("/v2/health/ready", ready),
        service.public_route("/v2", server),
        *(service.protected_route(path, model, "GET") for path in model_paths(spec.name)),
        *(service.public_route(f"{path}/ready", ready) for path in model_paths(spec.name)),
        *(service.protected_route(f"{path}/infer", infer) for path in model_paths(spec.name)),
    ]


async def _infer(request: Request, service: Service) -> Response:
    spec = service.predictor.spec
    content = await read_body(request, service.limits)
    infer_request = await asyncio.to_thread(parse_infer_request, content, output_tensors(spec.tasks), service.limits)
    tensors = await service.submit(
        infer_request.image,
        lambda _, result: _render_tensors(result, infer_request.outputs),
        min_score=infer_request.min_score,
        class_map="class_map" in infer_request.outputs,
    )
    metadata = {"model_name": spec.name, "model_version": _VERSION}
    if infer_request.id is not None:
        metadata["id"] = infer_request.id
    head = json.dumps(metadata)[:-1].encode()
    return Response(head + b', "outputs": ' + tensors + b"}", media_type="application/json")


def parse_infer_request(content: bytes, outputs: list[dict[str, Any]], limits: ServeLimits) -> InferRequest:
    """The request in a JSON body.

    Args:
        content: The body.
        outputs: The model's output tensors.
        limits: Limits of the image.

    Raises:
        HTTPException: 400 for an invalid request, 413 and 415 as `decode_image`.
    """
    try:
        body = parse_json(content)
        inputs = {tensor["name"]: tensor for tensor in body["inputs"]}
        names = [str(tensor["name"]) for tensor in body.get("outputs", outputs)]
        min_score = body.get("parameters", {}).get(MIN_SCORE.name)
        request_id = body.get("id")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise HTTPException(
            400, f"expected a request of the inference protocol, got something else ({type(error).__name__}: {error})"
        ) from error
    unknown = set(names) - {tensor["name"] for tensor in outputs}
    if unknown:
        available = ", ".join(tensor["name"] for tensor in outputs)
        raise HTTPException(400, f"outputs: expected names from {available}, got {', '.join(sorted(unknown))}")
    if not isinstance(request_id, str | None):
        raise HTTPException(400, f"id: expected a string, got {type(request_id).__name__}")
    query = {} if min_score is None else {MIN_SCORE.name: str(min_score)}
    return InferRequest(_parse_image(inputs, limits), names, MIN_SCORE.read(query), request_id)


def _parse_image(inputs: dict[str, Any], limits: ServeLimits) -> ImageSource:
    if "image_bytes" in inputs:
        try:
            content = base64.b64decode(inputs["image_bytes"]["data"][0], validate=True)
        except (KeyError, IndexError, TypeError, ValueError, binascii.Error) as error:
            raise HTTPException(400, "image_bytes: expected data of one image in base64") from error
        return decode_image(content, limits)
    try:
        tensor = inputs["image"]
        height, width, channels = tensor["shape"]
        pixels = _to_array(tensor["data"]).reshape(height, width, channels)
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise HTTPException(400, "expected an input image of shape (H, W, 3), or image_bytes") from error
    if channels != 3 or height * width == 0 or pixels.dtype.kind not in "iu" or pixels.min() < 0 or pixels.max() > 255:
        raise HTTPException(400, f"image: expected integers 0 to 255 of shape (H, W, 3), got {list(pixels.shape)}")
    height, width, _ = pixels.shape
    require_pixels(height, width, limits)
    return ImageSource(pixels.astype(np.uint8))


def _to_array(data: list[Any]) -> NDArray[Any]:
    """A flat or nested list as an array, converted in chunks so that other threads run in between."""
    step = max(1, _CHUNK // max(1, np.size(data[:1])))
    return np.concatenate([np.array(data[start : start + step]) for start in range(0, len(data), step)])


def _render_tensors(result: Result, names: list[str]) -> bytes:
    """JSON of the named output tensors, in the protocol's order."""
    arrays: dict[str, NDArray[Any]] = {"boxes": result.boxes, "scores": result.scores, "labels": result.labels}
    if "class_map" in names and result.class_map is not None:
        arrays["class_map"] = result.class_map
    tensors = []
    for tensor in output_tensors(tuple(OUTPUTS)):
        if tensor["name"] in names and tensor["name"] in arrays:
            array = arrays[tensor["name"]]
            tensors.append({**tensor, "shape": list(array.shape), "data": array.ravel().tolist()})
    return json.dumps(tensors).encode()
