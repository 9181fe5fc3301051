"""The ASGI application: its routes, and how errors become responses."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import WebSocketRoute
from starlette.staticfiles import StaticFiles

from blitznet.runtime.predictor import BasePredictor
from blitznet.serve import kserve
from blitznet.serve.admission import Admission
from blitznet.serve.limits import ServeLimits
from blitznet.serve.memory import keep_trimmed
from blitznet.serve.metrics import Metrics
from blitznet.serve.openapi import openapi_document
from blitznet.serve.origins import OriginCheck, parse_hosts, parse_origins
from blitznet.serve.payload import read_image, read_images
from blitznet.serve.pool import Pool
from blitznet.serve.response import render_response
from blitznet.serve.service import Call, Reply, Service, error_response, record, require_token
from blitznet.serve.stream import PATH as STREAM_PATH
from blitznet.serve.stream import error_json, stream

PAGE = Path(__file__).parent / "page"
"""the web page's files"""
_PAGE_HEADERS = {
    "Cache-Control": "no-cache",  # ask whether it has changed: an old script does not fit a new server
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; connect-src 'self' ws: wss:; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}
_CORS_HEADERS = ("Authorization", "Content-Type", "Content-Encoding", "Inference-Header-Content-Length")
_OTHER = "other"
"""path of metrics for requests that no route handles"""


def make_app(
    predictor: BasePredictor,
    *,
    limits: ServeLimits | None = None,
    batch: int = 4,
    token: str | None = None,
    hosts: Sequence[str] | None = None,
    origins: Sequence[str] = (),
    max_connections: int | None = None,
) -> Starlette:
    """The ASGI application.

    `serve/server.py` runs it with limits of connections, which other servers lack.

    Args:
        predictor: Predicts the images.
        limits: Limits of requests. Default: those of `ServeLimits`.
        batch: Maximum number of images that go through the network together.
        token: Bearer token that clients must send. Default: none.
        hosts: Domain names that the Host header may have. Default: any.
        origins: Origins of web pages of other sites that may use the server; "*" is every site. Default: none.
        max_connections: Maximum number of open connections, if less than that of the limits.

    Returns:
        The application. On shutdown it returns the results of the queued images.

    Raises:
        UsageError: The token is empty, no client can send it, or no browser sends a host or an origin.
    """
    require_token(token)
    hosts, origins = None if hosts is None else parse_hosts(hosts), parse_origins(origins)
    limits = limits or ServeLimits()
    pool = Pool(predictor, max_queue=limits.max_queue, batch=batch, warm_up=True)
    admission = Admission(limits, max_connections=max_connections)
    service = Service(predictor, pool, limits, Metrics(pool, admission, limits), admission, token)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
        trimming = asyncio.create_task(
            keep_trimmed(lambda: admission.idle and not pool.waiting, lambda: admission.entered)
        )
        yield {"admission": admission, "timeout": limits.timeout}
        trimming.cancel()
        await asyncio.to_thread(service.close)

    middleware = [Middleware(OriginCheck, hosts=hosts, origins=origins, record=partial(_record_refusal, service))]
    if origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=origins,
                allow_methods=("GET", "POST"),
                allow_headers=_CORS_HEADERS,
                expose_headers=("Inference-Header-Content-Length", "Retry-After"),
            )
        )
    app = Starlette(
        routes=_routes(service),
        lifespan=lifespan,
        middleware=middleware,
        exception_handlers={HTTPException: partial(_http_error, service), Exception: _server_error},
    )
    app.router.redirect_slashes = False
    app.state.service = service
    return app


def _routes(service: Service) -> list[Any]:
    return [
        service.call_route("/v1/predict", _predict),
        service.call_route("/v1/predict/batch", _predict_batch),
        service.protected_route("/v1/model", lambda _: _model(service)),
        WebSocketRoute(STREAM_PATH, partial(_stream, service=service)),
        service.public_route(STREAM_PATH, _require_websocket, documented=False),
        service.public_route("/healthz", _healthz),
        service.public_route("/readyz", lambda _: _readyz(service)),
        service.public_route("/metrics", lambda _: _metrics(service)),
        service.public_route("/openapi.json", lambda _: _openapi(service)),
        *kserve.routes(service),
        *_page_routes(service),
        WebSocketRoute("/{path:path}", partial(_refuse_websocket, service=service)),
    ]


def _page_routes(service: Service) -> list[Any]:
    """A route for each file of the web page, so that other addresses and methods get 404 and 405."""
    files = StaticFiles(directory=PAGE)

    async def page_file(request: Request) -> Response:
        name = request.url.path.rpartition("/")[2] or "index.html"
        response = await files.get_response(name, request.scope)
        response.headers.update(_PAGE_HEADERS)
        return response

    paths = ["/", *(f"/{path.name}" for path in sorted(PAGE.iterdir()))]
    return [service.public_route(path, page_file, documented=False) for path in paths]


async def _stream(socket: Any, service: Service) -> None:
    await stream(socket, service)


async def _refuse_websocket(socket: Any, service: Service) -> None:
    _record_refusal(service, socket, 404)
    await socket.send_denial_response(error_response(HTTPException(404)))


async def _require_websocket(_: Request) -> Response:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    raise HTTPException(426, "expected a WebSocket handshake", headers)


async def _predict(call: Call) -> Reply:
    call.parse_options({})  # before the body is read
    content = await call.read_body()
    (image,), fields = await call.read_images(read_image, content, call.headers.get("content-type", ""))
    options = call.parse_options(fields)
    if isinstance(image, HTTPException):
        raise image
    return Reply(await call.predict_image(image, options), options.media_type)


async def _predict_batch(call: Call) -> Reply:
    _require_json(call.parse_options({}).format)
    content = await call.read_body()
    content_type, limit = call.headers.get("content-type", ""), call.service.limits.images_per_request
    images, fields = await call.read_images(read_images, content, content_type, limit)
    options = call.parse_options(fields)
    _require_json(options.format)
    valid = [image for image in images if not isinstance(image, HTTPException)]
    render = partial(render_response, options)
    results = iter(
        await call.predict_each(valid, render, min_score=options.min_score, class_map=options.needs_class_map)
    )
    entries = [image if isinstance(image, HTTPException) else next(results) for image in images]
    texts = [error_json(entry) if isinstance(entry, HTTPException) else entry for entry in entries]
    texts[0] = b'{"results": [' + texts[0]
    texts[-1] += b"]}"
    return Reply(await asyncio.to_thread(b", ".join, texts), "application/json")  # of up to hundreds of megabytes


def _require_json(response_format: str) -> None:
    if response_format != "json":
        raise HTTPException(406, f"batch: expected the format json, got {response_format!r}")


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
    pool = service.pool
    status = "ready" if pool.ready else "warming up" if pool.open else "shutting down"
    return JSONResponse({"status": status}, 200 if pool.ready else 503)


async def _metrics(service: Service) -> Response:
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _openapi(service: Service) -> Response:
    spec, protected = service.predictor.spec, service.token is not None
    return JSONResponse(openapi_document(spec, service.limits, protected=protected))


def _record_refusal(service: Service, request: HTTPConnection, status: int) -> None:
    """Record a request that no route has handled."""
    record(service.metrics, request, _OTHER, status, 0.0)


async def _http_error(service: Service, request: Request, error: Exception) -> Response:
    """The response to a request without a route, or with a wrong method."""
    assert isinstance(error, HTTPException)
    _record_refusal(service, request, error.status_code)
    return error_response(error)


async def _server_error(_: Request, __: Exception) -> Response:
    return JSONResponse({"error": "internal error; see the server's log"}, 500)
