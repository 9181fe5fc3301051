"""The ASGI application: its routes, and how errors become responses."""

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from blitznet.core.errors import BlitzNetError
from blitznet.runtime.predictor import BasePredictor
from blitznet.serve import kserve
from blitznet.serve.limits import ServeLimits
from blitznet.serve.metrics import Metrics
from blitznet.serve.openapi import openapi_document
from blitznet.serve.pool import Pool
from blitznet.serve.request import PredictRequest, decode_image, parse_json, parse_request, read_body
from blitznet.serve.service import Service, bearer_token

PAGE = Path(__file__).parent / "page"
"""the web page's files"""
_RETRY_STATUSES = (429, 503)
"""statuses of a busy server: the client should repeat the whole request"""


def make_app(
    predictor: BasePredictor, *, limits: ServeLimits | None = None, batch: int = 4, token: str | None = None
) -> Starlette:
    """The ASGI application.

    Args:
        predictor: Predicts the images.
        limits: Limits of requests. Default: those of `ServeLimits`.
        batch: Maximum number of images that go through the network together.
        token: Bearer token that clients must send. Default: none.

    Returns:
        The application. On shutdown it returns the results of the queued images.
    """
    limits = limits or ServeLimits()
    pool = Pool(predictor, max_queue=limits.max_queue, batch=batch)
    service = Service(predictor, pool, limits, Metrics(pool), token)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(pool.close)

    handlers = {HTTPException: _http_error, Exception: _server_error}
    app = Starlette(routes=_routes(service), lifespan=lifespan, exception_handlers=handlers)
    app.state.service = service
    return app


def _routes(service: Service) -> list[Any]:
    return [
        service.protected_route("/v1/predict", lambda request: _predict(request, service)),
        service.protected_route("/v1/predict/batch", lambda request: _predict_batch(request, service)),
        service.protected_route("/v1/model", lambda _: _model(service), "GET"),
        WebSocketRoute("/v1/stream", lambda socket: _stream(socket, service)),
        service.public_route("/healthz", _healthz),
        service.public_route("/readyz", lambda _: _readyz(service)),
        service.public_route("/metrics", lambda _: _metrics(service)),
        service.public_route("/openapi.json", lambda _: _openapi(service)),
        *kserve.routes(service),
        Mount("/", StaticFiles(directory=PAGE, html=True)),
    ]


async def _predict(request: Request, service: Service) -> Response:
    options = parse_request(request.query_params, request.headers.get("accept", "*/*"))
    image = decode_image(await read_body(request, service.limits), service.limits)
    return Response(await service.predict(image, options), media_type=options.media_type)


async def _predict_batch(request: Request, service: Service) -> Response:
    options = parse_request(request.query_params, request.headers.get("accept", "*/*"))
    if options.format != "json":
        raise HTTPException(406, f"batch: expected the format json, got {options.format!r}")
    contents = await asyncio.to_thread(parse_batch, await read_body(request, service.limits), service.limits)
    results = await asyncio.gather(
        *(_predict_or_error(content, options, service) for content in contents), return_exceptions=True
    )
    entries: list[bytes] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        entries.append(result)
    return Response(b'{"results": [' + b", ".join(entries) + b"]}", media_type="application/json")


async def _predict_or_error(content: bytes, options: PredictRequest, service: Service) -> bytes:
    """JSON of one image of a batch: its result or its error; raises if the server is busy."""
    try:
        return await service.predict(decode_image(content, service.limits), options)
    except HTTPException as error:
        if error.status_code in _RETRY_STATUSES:
            raise
        return _error_json(error)


def parse_batch(content: bytes, limits: ServeLimits) -> list[bytes]:
    """The images of `{"images": ["base64", ...]}`. Raises HTTPException 400 or 413 for any other body."""
    try:
        texts = parse_json(content)["images"]
        images = [base64.b64decode(text, validate=True) for text in texts]
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise HTTPException(400, f'expected {{"images": ["base64", ...]}}, got something else ({error})') from error
    if not 0 < len(images) <= limits.images_per_request:
        raise HTTPException(
            413 if images else 400, f"expected 1 to {limits.images_per_request} images, got {len(images)}"
        )
    return images


async def _stream(socket: WebSocket, service: Service) -> None:
    """A WebSocket: each message is an image, each reply its JSON, in order.

    A client that sends each frame after the reply to the previous one never builds up a queue.
    """
    token = socket.query_params.get("token") or bearer_token(socket.headers.get("authorization"))
    if not service.is_authorized(token):
        await socket.close(4401, "expected ?token=TOKEN or Authorization: Bearer TOKEN")
        return
    await socket.accept()
    try:
        options = parse_request(socket.query_params)
        if options.format != "json":
            raise HTTPException(406, f"format: expected json, got {options.format!r}")
        while True:
            content = await _receive_bytes(socket)
            if content is None:
                await socket.close(1003, "expected the bytes of an image, got text")
                return
            await socket.send_text((await _reply(content, options, service)).decode())
    except HTTPException as error:
        await socket.close(4400, error.detail)
    except WebSocketDisconnect:
        return


async def _receive_bytes(socket: WebSocket) -> bytes | None:
    """The next message's bytes; None for a text message."""
    try:
        return await socket.receive_bytes()
    except KeyError:
        return None


async def _reply(content: bytes, options: PredictRequest, service: Service) -> bytes:
    """JSON of a WebSocket message: its result, or its error, which keeps the socket open."""
    try:
        if len(content) > service.limits.max_body_bytes:
            raise HTTPException(413, f"expected at most {service.limits.max_body_bytes:,} bytes, got {len(content):,}")
        return await service.predict(decode_image(content, service.limits), options)
    except HTTPException as error:
        return _error_json(error)


async def _model(service: Service) -> Response:
    spec = service.predictor.spec
    return JSONResponse(
        {
            "name": spec.name,
            "classes": spec.classes,
            "tasks": spec.tasks,
            "size": spec.size,
            "engine": service.predictor.engine.name,
            "precision": spec.precision,
            "license": spec.license,
            "limits": service.limits.to_dict(),
        }
    )


async def _healthz(_: Request) -> Response:
    return JSONResponse({"status": "alive"})


async def _readyz(service: Service) -> Response:
    ready = service.pool.open
    return JSONResponse({"status": "ready" if ready else "shutting down"}, 200 if ready else 503)


async def _metrics(service: Service) -> Response:
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _openapi(service: Service) -> Response:
    spec, protected = service.predictor.spec, service.token is not None
    return JSONResponse(openapi_document(spec.name, service.limits, tasks=spec.tasks, protected=protected))


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def _server_error(_: Request, error: Exception) -> Response:
    text = str(error) if isinstance(error, BlitzNetError) else "internal error; see the server's log"
    return JSONResponse({"error": text}, 500)


def _error_json(error: HTTPException) -> bytes:
    return json.dumps({"error": error.detail, "status": error.status_code}).encode()
