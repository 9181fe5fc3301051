"""The ASGI application: its routes, and how errors become answers."""

import asyncio
import base64
import binascii
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from blitznet.core.errors import BlitzNetError, DataError
from blitznet.core.image import ImageSource
from blitznet.runtime.predictor import Predictor
from blitznet.serve import kserve
from blitznet.serve.limits import ServeLimits
from blitznet.serve.metrics import Metrics
from blitznet.serve.openapi import document
from blitznet.serve.pool import BusyError, ClosedError, Job, Pool, Render
from blitznet.serve.request import PredictRequest, decode_image, parse_json, parse_request, parse_score, read_body

PAGE = Path(__file__).parent / "page"
_RETRY = {"Retry-After": "1"}
_LATER = (429, 503)
"""what is no fault of a image: the whole request is to be tried again"""
Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, eq=False)
class Service:
    """What the routes work with."""

    predictor: Predictor
    pool: Pool
    limits: ServeLimits
    metrics: Metrics
    token: str | None = None

    async def answered(self, image: ImageSource, render: Render, *, score: float | None, class_map: bool) -> bytes:
        """The image's answer; 429 where there is no room for it, 503 where there is no time or the server ends."""
        try:
            future = self.pool.submit(Job(image, score, class_map, render))
        except BusyError as busy:
            raise HTTPException(429, str(busy), _RETRY) from busy
        except ClosedError as closed:
            raise HTTPException(503, str(closed), _RETRY) from closed
        try:
            content = await asyncio.wait_for(asyncio.wrap_future(future), self.limits.seconds)
        except TimeoutError:
            raise HTTPException(503, f"not answered within {self.limits.seconds:g} s", _RETRY) from None
        except DataError as error:
            raise HTTPException(415, str(error)) from error
        self.metrics.images.inc()
        return content

    async def asked_for(self, image: ImageSource, wish: PredictRequest) -> bytes:
        """The image's answer as a client wishes it."""
        return await self.answered(image, wish.render(), score=wish.score, class_map=wish.class_map)


def make_app(
    predictor: Predictor, *, limits: ServeLimits | None = None, batch: int = 4, token: str | None = None
) -> Starlette:
    """The application that serves this predictor; it ends after what its threads have in hand."""
    limits = limits or ServeLimits()
    pool = Pool(predictor, queue=limits.queue, batch=batch)
    service = Service(predictor, pool, limits, Metrics(pool), token)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(pool.close)

    errors = {HTTPException: _error, Exception: _fault}
    app = Starlette(routes=_routes(service), lifespan=lifespan, exception_handlers=errors)
    app.state.service = service
    return app


def _routes(service: Service) -> list[Any]:
    def open_(path: str, handler: Handler) -> Route:
        return Route(path, _counted(path, handler, service), methods=["GET"])

    def closed(path: str, handler: Handler, method: str = "POST") -> Route:
        return Route(path, _counted(path, _guarded(handler, service), service), methods=[method])

    return [
        closed("/v1/predict", lambda request: _predict(request, service)),
        closed("/v1/predict/batch", lambda request: _batch(request, service)),
        closed("/v1/model", lambda _: _model(service), "GET"),
        WebSocketRoute("/v1/stream", lambda socket: _stream(socket, service)),
        open_("/healthz", _alive),
        open_("/readyz", lambda _: _ready(service)),
        open_("/metrics", lambda _: _metrics(service)),
        open_("/openapi.json", lambda _: _document(service)),
        *kserve.routes(service, open_, closed),
        Mount("/", StaticFiles(directory=PAGE, html=True)),
    ]


async def _predict(request: Request, service: Service) -> Response:
    wish = parse_request(request)
    image = decode_image(await read_body(request, service.limits), service.limits)
    return Response(await service.asked_for(image, wish), media_type=wish.media_type)


async def _batch(request: Request, service: Service) -> Response:
    wish = parse_request(request)
    if wish.kind != "json":
        raise HTTPException(406, "several images are answered as application/json alone")
    contents = await asyncio.to_thread(images, await read_body(request, service.limits), service.limits)
    answers = await asyncio.gather(*(_one(content, wish, service) for content in contents), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    parts = [answer for answer in answers if isinstance(answer, bytes)]
    return Response(b'{"results": [' + b", ".join(parts) + b"]}", media_type="application/json")


async def _one(content: bytes, wish: PredictRequest, service: Service) -> bytes:
    """The answer to one image of several, or what is wrong with it: the others are answered all the same."""
    try:
        return await service.asked_for(decode_image(content, service.limits), wish)
    except HTTPException as error:
        if error.status_code in _LATER:
            raise
        return json.dumps({"error": error.detail, "status": error.status_code}).encode()


def images(content: bytes, limits: ServeLimits) -> list[bytes]:
    """The images of {"images": ["base64", ...]}; 400 for anything else."""
    try:
        texts = parse_json(content)["images"]
        found = [base64.b64decode(text, validate=True) for text in texts]
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise HTTPException(400, f'expected {{"images": ["base64", ...]}}, got something else ({error})') from error
    if not 0 < len(found) <= limits.images:
        raise HTTPException(413 if found else 400, f"expected 1 to {limits.images} images, got {len(found)}")
    return found


async def _stream(socket: WebSocket, service: Service) -> None:
    """Each message an image; each answer JSON, in turn, so that a client sends the next when it has the last."""
    given = socket.query_params.get("token") or socket.headers.get("authorization", "").removeprefix("Bearer ")
    if not allowed(given, service.token):
        await socket.close(4401, "expected the token")
        return
    await socket.accept()
    pixels, instances = (socket.query_params.get(name) in ("1", "true") for name in ("class_map", "panoptic"))
    try:
        wish = PredictRequest("json", parse_score(socket.query_params.get("score")), pixels, instances)
        while True:
            content = await _message(socket)
            if content is None:
                await socket.close(1003, "expected an image's bytes, got text")
                return
            try:
                if len(content) > service.limits.body:
                    raise HTTPException(413, f"expected at most {service.limits.body:,} bytes, got {len(content):,}")
                answer = await service.asked_for(decode_image(content, service.limits), wish)
            except HTTPException as error:
                answer = json.dumps({"error": error.detail, "status": error.status_code}).encode()
            await socket.send_text(answer.decode())
    except HTTPException as error:
        await socket.close(4400, error.detail)
    except WebSocketDisconnect:
        return


async def _message(socket: WebSocket) -> bytes | None:
    """The next message's bytes; None of text."""
    try:
        return await socket.receive_bytes()
    except KeyError:
        return None


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
            "licence": spec.license,
            "limits": asdict(service.limits),
        }
    )


async def _alive(_: Request) -> Response:
    return JSONResponse({"status": "alive"})


async def _ready(service: Service) -> Response:
    ready = service.pool.open
    return JSONResponse({"status": "ready" if ready else "going down"}, 200 if ready else 503)


async def _metrics(service: Service) -> Response:
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _document(service: Service) -> Response:
    spec, guarded = service.predictor.spec, service.token is not None
    return JSONResponse(document(spec.name, service.limits, tasks=spec.tasks, guarded=guarded))


def _guarded(handler: Handler, service: Service) -> Handler:
    async def guarded(request: Request) -> Response:
        if not allowed(request.headers.get("authorization", "").removeprefix("Bearer "), service.token):
            raise HTTPException(401, "expected Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
        return await handler(request)

    return guarded


def allowed(given: str, token: str | None) -> bool:
    """Whether this is the token, if one is wanted; takes as long for a nearly right one as for a wrong one."""
    return token is None or hmac.compare_digest(given.encode(), token.encode())


def _counted(path: str, handler: Handler, service: Service) -> Handler:
    async def counted(request: Request) -> Response:
        begun = time.perf_counter()
        status = 500
        try:
            response = await handler(request)
            status = response.status_code
        except HTTPException as error:
            status = error.status_code
            raise
        except ClientDisconnect:
            status = 499
            return Response(status_code=400)  # nobody is there to read it
        finally:
            service.metrics.requests.labels(path, str(status)).inc()
            service.metrics.seconds.labels(path).observe(time.perf_counter() - begun)
        return response

    return counted


async def _error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def _fault(_: Request, error: Exception) -> Response:
    text = str(error) if isinstance(error, BlitzNetError) else "something broke; the server's log says what"
    return JSONResponse({"error": text}, 500)
