"""KServe's second inference protocol, in JSON: a image as UINT8 (H, W, 3) or as an image file's bytes in base64.

Source: the Open Inference Protocol of KServe. A parameter `score` is the lowest one.
"""

import asyncio
import base64
import binascii
import json
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol

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
from blitznet.serve.request import decode_image, parse_json, parse_score, read_body

if TYPE_CHECKING:
    from blitznet.serve.app import Handler, Service

INPUTS: list[dict[str, Any]] = [
    {"name": "image", "datatype": "UINT8", "shape": [-1, -1, 3]},
    {"name": "image_bytes", "datatype": "BYTES", "shape": [1]},
]
"""a request has one of them"""
OUTPUTS: dict[Task, list[dict[str, Any]]] = {
    "detection": [
        {"name": "boxes", "datatype": "FP32", "shape": [-1, 4]},
        {"name": "scores", "datatype": "FP32", "shape": [-1]},
        {"name": "labels", "datatype": "INT64", "shape": [-1]},
    ],
    "segmentation": [{"name": "class_map", "datatype": "UINT8", "shape": [-1, -1]}],
}
"""a request may name some of those of the model's tasks"""
_VERSION = "1"
_AT_ONCE = 1 << 16
"""numbers that become an array in one go, which keeps all other threads waiting"""


@dataclass(frozen=True, slots=True, eq=False)
class InferRequest:
    """A request, read and checked."""

    image: ImageSource
    expected: list[str]
    """names of outputs"""
    score: float
    identity: str | None


class Opened(Protocol):
    """Makes a route that everybody may ask."""

    def __call__(self, path: str, handler: "Handler") -> Route:
        """The route."""
        ...


class Closed(Protocol):
    """Makes a route that wants the token."""

    def __call__(self, path: str, handler: "Handler", method: str = "POST") -> Route:
        """The route."""
        ...


def outputs(tasks: tuple[Task, ...]) -> list[dict[str, Any]]:
    """What a model of these tasks answers."""
    return [output for task, some in OUTPUTS.items() if task in tasks for output in some]


def addresses(name: str) -> tuple[str, str]:
    """The model's address, without its version and with it."""
    return f"/v2/models/{name}", f"/v2/models/{name}/versions/{_VERSION}"


def routes(service: "Service", open_: Opened, closed: Closed) -> list[Route]:
    """Those of the protocol."""
    spec = service.predictor.spec

    async def live(_: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(_: Request) -> Response:
        return JSONResponse({"ready": service.pool.open}, 200 if service.pool.open else 503)

    async def server(_: Request) -> Response:
        return JSONResponse({"name": "blitznet", "version": version("blitznet"), "extensions": []})

    async def model(_: Request) -> Response:
        told = {"name": spec.name, "versions": [_VERSION], "platform": "blitznet"}
        return JSONResponse({**told, "inputs": INPUTS, "outputs": outputs(spec.tasks)})

    async def infer(request: Request) -> Response:
        return await _infer(request, service)

    return [
        open_("/v2/health/live", live),
        open_("/v2/health/ready", ready),
        open_("/v2", server),
        *(closed(address, model, "GET") for address in addresses(spec.name)),
        *(open_(f"{address}/ready", ready) for address in addresses(spec.name)),
        *(closed(f"{address}/infer", infer) for address in addresses(spec.name)),
    ]


async def _infer(request: Request, service: "Service") -> Response:
    spec = service.predictor.spec
    content = await read_body(request, service.limits)
    question = await asyncio.to_thread(_question, content, outputs(spec.tasks), service.limits)
    answer = await service.answered(
        question.image,
        lambda _, result: _rendered(result, question.expected),
        score=question.score,
        class_map="class_map" in question.expected,
    )
    told = {"model_name": spec.name, "model_version": _VERSION}
    if question.identity is not None:
        told["id"] = question.identity
    head = json.dumps(told)[:-1].encode()
    return Response(head + b', "outputs": ' + answer + b"}", media_type="application/json")


def _question(content: bytes, known: list[dict[str, Any]], limits: ServeLimits) -> InferRequest:
    """What is asked of a model of the known outputs; 400 and others tell why not."""
    names = [one["name"] for one in known]
    try:
        asked = parse_json(content)
        given = {one["name"]: one for one in asked["inputs"]}
        expected = [str(one["name"]) for one in asked.get("outputs", known)]
        score = asked.get("parameters", {}).get("score")
        score = None if score is None else str(score)
        identity = asked.get("id")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise HTTPException(
            400, f"not a request of the inference protocol ({type(error).__name__}: {error})"
        ) from error
    unknown = set(expected) - set(names)
    if unknown:
        raise HTTPException(400, f"outputs: there is no {', '.join(sorted(unknown))}")
    if not isinstance(identity, str | None):
        raise HTTPException(400, "id: expected text")
    return InferRequest(_image(given, limits), expected, parse_score(score), identity)


def _image(given: dict[str, Any], limits: ServeLimits) -> ImageSource:
    if "image_bytes" in given:
        try:
            content = base64.b64decode(given["image_bytes"]["data"][0], validate=True)
        except (KeyError, IndexError, TypeError, ValueError, binascii.Error) as error:
            raise HTTPException(400, "image_bytes: expected data of one image in base64") from error
        return decode_image(content, limits)
    try:
        one = given["image"]
        height, width, channels = one["shape"]
        values = _array(one["data"]).reshape(height, width, channels)
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise HTTPException(400, "expected an input image of shape (H, W, 3), or image_bytes") from error
    if channels != 3 or height * width == 0 or values.dtype.kind not in "iu" or values.min() < 0 or values.max() > 255:
        raise HTTPException(400, f"image: expected whole numbers 0 to 255 of shape (H, W, 3), got {list(values.shape)}")
    height, width, _ = values.shape
    if height * width > limits.pixels:
        raise HTTPException(413, f"expected at most {limits.pixels:,} pixels, got {width}x{height}")
    return ImageSource(values.astype(np.uint8))


def _array(data: list[Any]) -> NDArray[Any]:
    """Of numbers, or of rows of them."""
    step = max(1, _AT_ONCE // max(1, np.size(data[:1])))
    return np.concatenate([np.array(data[at : at + step]) for at in range(0, len(data), step)])


def _rendered(result: Result, expected: list[str]) -> bytes:
    arrays: dict[str, NDArray[Any]] = {"boxes": result.boxes, "scores": result.scores, "labels": result.labels}
    if "class_map" in expected and result.class_map is not None:
        arrays["class_map"] = result.class_map
    known = [one for some in OUTPUTS.values() for one in some]
    told = [_told(one, arrays[one["name"]]) for one in known if one["name"] in expected and one["name"] in arrays]
    return json.dumps(told).encode()


def _told(output: dict[str, Any], array: NDArray[Any]) -> dict[str, Any]:
    return {**output, "shape": list(array.shape), "data": array.ravel().tolist()}
