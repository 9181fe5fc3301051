"""KServe's second inference protocol, in JSON: a photo as UINT8 (H, W, 3) or as an image file's bytes in base64.

Source: the Open Inference Protocol of KServe. A parameter `score` is the lowest one.
"""

import base64
import binascii
import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from blitznet.core.photo import Photo
from blitznet.core.result import Result
from blitznet.serve.asked import body, photo_of, read_score

if TYPE_CHECKING:
    from blitznet.serve.app import Handler, Service

INPUTS: list[dict[str, Any]] = [
    {"name": "image", "datatype": "UINT8", "shape": [-1, -1, 3]},
    {"name": "image_bytes", "datatype": "BYTES", "shape": [1]},
]
"""a request has one of them"""
OUTPUTS: list[dict[str, Any]] = [
    {"name": "boxes", "datatype": "FP32", "shape": [-1, 4]},
    {"name": "scores", "datatype": "FP32", "shape": [-1]},
    {"name": "labels", "datatype": "INT64", "shape": [-1]},
    {"name": "class_map", "datatype": "UINT8", "shape": [-1, -1]},
]
"""a request may name some of them"""


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


def routes(service: "Service", open_: Opened, closed: Closed) -> list[Route]:
    """Those of the protocol."""
    name = service.predictor.spec.name

    async def live(_: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(_: Request) -> Response:
        return JSONResponse({"ready": service.pool.open}, 200 if service.pool.open else 503)

    async def server(_: Request) -> Response:
        return JSONResponse({"name": "blitznet", "version": version("blitznet"), "extensions": []})

    async def model(_: Request) -> Response:
        told = {"name": name, "versions": ["1"], "platform": "blitznet"}
        return JSONResponse({**told, "inputs": INPUTS, "outputs": OUTPUTS})

    async def infer(request: Request) -> Response:
        return await _infer(request, service)

    return [
        open_("/v2/health/live", live),
        open_("/v2/health/ready", ready),
        open_("/v2", server),
        closed(f"/v2/models/{name}", model, "GET"),
        open_(f"/v2/models/{name}/ready", ready),
        closed(f"/v2/models/{name}/infer", infer),
    ]


async def _infer(request: Request, service: "Service") -> Response:
    try:
        asked = json.loads(await body(request, service.limits))
        given = {one["name"]: one for one in asked["inputs"]}
        wanted = [str(one["name"]) for one in asked.get("outputs", OUTPUTS)]
        score = asked.get("parameters", {}).get("score")
        identity = asked.get("id")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HTTPException(
            400, f"not a request of the inference protocol ({type(error).__name__}: {error})"
        ) from error
    unknown = set(wanted) - {one["name"] for one in OUTPUTS}
    if unknown:
        raise HTTPException(400, f"outputs: there is no {', '.join(sorted(unknown))}")
    photo = _photo(given, service)
    content = await service.answered(
        photo,
        lambda _, result: _rendered(result, wanted),
        score=read_score(None if score is None else str(score)),
        class_map="class_map" in wanted,
    )
    name = service.predictor.spec.name
    told = {"model_name": name, "model_version": "1", **({} if identity is None else {"id": identity})}
    head = json.dumps(told)[:-1].encode()
    return Response(head + b', "outputs": ' + content + b"}", media_type="application/json")


def _photo(given: dict[str, Any], service: "Service") -> Photo:
    if "image_bytes" in given:
        try:
            content = base64.b64decode(given["image_bytes"]["data"][0], validate=True)
        except (KeyError, IndexError, TypeError, ValueError, binascii.Error) as error:
            raise HTTPException(400, "image_bytes: wanted data of one image in base64") from error
        return photo_of(content, service.limits)
    try:
        one = given["image"]
        height, width, channels = one["shape"]
        values = np.array(one["data"]).reshape(height, width, channels)
    except (KeyError, ValueError, TypeError) as error:
        raise HTTPException(400, "wanted an input image of shape (H, W, 3), or image_bytes") from error
    if channels != 3 or height * width == 0 or values.dtype.kind not in "iu" or values.min() < 0 or values.max() > 255:
        raise HTTPException(400, f"image: wanted whole numbers 0 to 255 of shape (H, W, 3), came {list(values.shape)}")
    if height * width > service.limits.pixels:
        raise HTTPException(413, f"wanted at most {service.limits.pixels:,} pixels, came {width}x{height}")
    return Photo(values.astype(np.uint8))


def _rendered(result: Result, wanted: list[str]) -> bytes:
    arrays: dict[str, NDArray[Any]] = {"boxes": result.boxes, "scores": result.scores, "labels": result.labels}
    if "class_map" in wanted and result.class_map is not None:
        arrays["class_map"] = result.class_map
    told = [_told(one, arrays[one["name"]]) for one in OUTPUTS if one["name"] in wanted and one["name"] in arrays]
    return json.dumps(told).encode()


def _told(output: dict[str, Any], array: NDArray[Any]) -> dict[str, Any]:
    return {**output, "shape": list(array.shape), "data": array.ravel().tolist()}
