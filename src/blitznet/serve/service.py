"""Service: the state that the routes share, and the one way of a request from its first byte to its last."""

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from starlette.datastructures import Headers, QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from blitznet.core.errors import DataError, UsageError, one_line, without_frames
from blitznet.core.image import ImageSource
from blitznet.core.spec import Task
from blitznet.runtime.predictor import BasePredictor
from blitznet.serve.admission import Admission, BusyError, Ticket
from blitznet.serve.limits import ServeLimits
from blitznet.serve.metrics import Metrics
from blitznet.serve.payload import Payload, decompress, is_compressed
from blitznet.serve.pool import ClosedError, Job, Pool, Render, lower_priority
from blitznet.serve.request import PredictRequest, decode_image, image_error, parse_request, read_body, read_query
from blitznet.serve.response import render_response

_Value = TypeVar("_Value")
_LOGGER = logging.getLogger("blitznet.serve")
ACCESS_LOGGER = logging.getLogger("blitznet.serve.access")
"""one line for each request"""
_RETRY = {"Retry-After": "1"}
_PIECE = 1 << 18
"""bytes of a response that are handed to the connection at once"""
_DISCONNECTED = 499
"""nginx's status of a client that disconnected"""
_MAX_PATH = 200
"""characters of a path or an address in the access log"""
_PARSERS = 2
"""threads that parse bodies; more would only compete for the GIL"""


@dataclass(frozen=True, eq=False)
class Reply:
    """The response of a handler that predicts."""

    content: bytes
    media_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    start: int = 0
    """index of the first byte of `content` that is sent"""


@dataclass(frozen=True, eq=False)
class Service:
    """What the routes share: predictor, worker pool, limits, admission, metrics and token."""

    predictor: BasePredictor
    pool: Pool
    limits: ServeLimits
    metrics: Metrics
    admission: Admission
    token: str | None = None
    """bearer token of the protected routes; None if every route is public"""
    parsers: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_PARSERS, "blitznet-parser", initializer=lower_priority)
    )

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Tasks of the model."""
        return self.predictor.spec.tasks

    def close(self) -> None:
        """Return the results of the queue, and end the threads."""
        self.pool.close()
        self.parsers.shutdown(cancel_futures=True)

    def enter(self) -> Ticket:
        """Admit a request before its body is read. Raises BusyError or ClosedError."""
        self.pool.require_open()
        return self.admission.enter(self.pool.waiting)

    def is_authorized(self, token: str) -> bool:
        """Whether a client's token is correct, compared in constant time; always true without a token."""
        return self.token is None or hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode())

    def log_error(self, request: HTTPConnection, path: str) -> None:
        """Log the current exception with the request that met it."""
        method = request.scope.get("method", "WEBSOCKET")
        _LOGGER.exception("%s %s from %s", method, path, client_address(request.scope))

    def public_route(
        self, path: str, handler: Callable[[Request], Awaitable[Response]], *, documented: bool = True
    ) -> Route:
        """A GET route without a token; `documented` if OpenAPI describes it."""
        endpoint = Endpoint(self, path, lambda request, _: handler(request), public=True)
        return Route(path, endpoint, methods=["GET"], include_in_schema=documented)

    def protected_route(self, path: str, handler: Callable[[Request], Awaitable[Response]]) -> Route:
        """A GET route that requires the token."""
        return Route(path, Endpoint(self, path, lambda request, _: handler(request)), methods=["GET"])

    def call_route(self, path: str, handler: "Callable[[Call], Awaitable[Reply]]") -> Route:
        """A POST route that predicts; it requires the token."""

        async def respond(request: Request, stack: ExitStack) -> Response:
            ticket = stack.enter_context(self.enter())
            reply = await handler(Call(self, ticket, request))
            ticket.set_response(len(reply.content))
            return PiecewiseResponse(reply, self.limits.timeout)

        return Route(path, Endpoint(self, path, respond), methods=["POST"])


class Call:
    """An admitted request: its body, parsing and prediction, all before one deadline."""

    def __init__(self, service: Service, ticket: Ticket, request: Request | None = None) -> None:
        """The deadline counts from now.

        Args:
            service: The server's state.
            ticket: The admission.
            request: The HTTP request; None for a message of a WebSocket.
        """
        self.service = service
        self._ticket = ticket
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + service.limits.timeout

    @property
    def headers(self) -> Headers:
        """Headers of the request; empty for a message of a WebSocket."""
        return Headers() if self._request is None else self._request.headers

    @property
    def query(self) -> QueryParams:
        """Query of the request; empty for a message of a WebSocket."""
        return QueryParams() if self._request is None else read_query(self._request)

    def require_query(self, names: Sequence[str]) -> None:
        """Raise HTTPException 400 for a query parameter that is not among `names`."""
        for name in self.query:
            if name not in names:
                raise HTTPException(400, f"{name[:100]}: unknown parameter")

    def parse_options(self, fields: Mapping[str, str]) -> PredictRequest:
        """The parameters of the query and of a payload's fields. Raises HTTPException as `parse_request`."""
        pairs = [*self.query.multi_items(), *fields.items()]
        return parse_request(QueryParams(pairs), self.headers.get("accept", "*/*"), tasks=self.service.tasks)

    async def read_body(self) -> bytes:
        """The whole body, decompressed. Raises HTTPException or BusyError as `read_body` and `decompress`."""
        assert self._request is not None
        limits, encoding = self.service.limits, self.headers.get("content-encoding", "")
        is_encoded = is_compressed(encoding)  # an unknown encoding is refused before the body is read
        content = await read_body(self._request, limits, self._ticket, self._deadline)
        if is_encoded:
            content = await self.parse(decompress, content, encoding, limits.max_body_bytes)
            self._ticket.set_body(len(content))
        return content

    async def parse(self, function: Callable[..., _Value], *arguments: Any) -> _Value:
        """The value of a function that takes time in proportion to the body, computed in a thread.

        Raises:
            HTTPException: 503 if it is not done by the deadline, and what the function raises.
        """
        future = self._loop.run_in_executor(self.service.parsers, partial(function, *arguments))
        try:
            async with asyncio.timeout_at(self._deadline):
                return await future
        except TimeoutError:
            raise self._late() from None

    async def read_images(
        self, read: Callable[..., Payload], content: bytes, *arguments: Any
    ) -> tuple[list[ImageSource | HTTPException], Mapping[str, str]]:
        """The images of a body, or why each cannot be read, and the parameters beside them.

        Args:
            read: `read_image` or `read_images` of `payload.py`.
            content: The body.
            arguments: Further arguments of `read`.
        """

        def parse() -> tuple[list[ImageSource | HTTPException], Mapping[str, str]]:
            payload = read(content, *arguments)
            return [_decode(image, self.service.limits) for image in payload.images], payload.fields

        return await self.parse(parse)

    async def predict(
        self, images: Sequence[ImageSource], render: Render, *, min_score: float, class_map: bool
    ) -> list[bytes]:
        """Queue all images or none, and wait for their rendered results.

        Raises:
            BusyError: The queue has no room for all.
            HTTPException: 415 for an image that cannot be decoded, 503 if the results are not ready by the deadline.
        """
        results = await self.predict_each(images, render, min_score=min_score, class_map=class_map)
        for result in results:
            if isinstance(result, HTTPException):
                raise result
        return [result for result in results if isinstance(result, bytes)]

    async def predict_each(
        self, images: Sequence[ImageSource], render: Render, *, min_score: float, class_map: bool
    ) -> list[bytes | HTTPException]:
        """`predict`, with an error in the place of each image that cannot be decoded."""
        self._ticket.received()
        jobs = [Job(image, min_score, class_map, render) for image in images]
        if not jobs:
            return []
        self.service.pool.submit(*jobs)
        try:
            results = await self._wait(jobs)
        finally:
            self.service.pool.withdraw(jobs)
        responses: list[bytes | HTTPException] = []
        for result in results:
            if isinstance(result, DataError):
                responses.append(image_error(result, self.service.limits))
            elif isinstance(result, BaseException):
                raise result
            else:
                responses.append(result)
        self.service.metrics.images.inc(sum(isinstance(response, bytes) for response in responses))
        return responses

    async def predict_image(self, image: ImageSource, options: PredictRequest) -> bytes:
        """The body of the response for one image; raises as `predict`."""
        render = partial(render_response, options)
        (body,) = await self.predict([image], render, min_score=options.min_score, class_map=options.needs_class_map)
        return body

    async def _wait(self, jobs: Sequence[Job]) -> "list[bytes | BaseException]":
        """The results, unless the deadline passes or the client disconnects."""
        results = asyncio.gather(*(asyncio.wrap_future(job.future) for job in jobs), return_exceptions=True)
        results.add_done_callback(_retrieve)
        disconnected = self._loop.create_task(self._disconnected())
        try:
            timeout = self._deadline - self._loop.time()
            waiting: set[asyncio.Future[Any]] = {results, disconnected}
            await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if results.done():
                return results.result()
            if disconnected.done():
                raise ClientDisconnect
            raise self._late()
        finally:
            disconnected.cancel()
            results.cancel()

    async def _disconnected(self) -> None:
        """Wait until the client disconnects."""
        if self._request is not None and (await self._request.receive())["type"] == "http.disconnect":
            return
        await self._loop.create_future()

    def _late(self) -> HTTPException:
        return HTTPException(503, f"no result within {self.service.limits.timeout:g} s", _RETRY)


class Endpoint:
    """ASGI application of a route: token, errors, metrics and the access log.

    The handler's exit stack is closed when the last byte is sent.
    """

    def __init__(
        self,
        service: Service,
        path: str,
        handler: Callable[[Request, ExitStack], Awaitable[Response]],
        *,
        public: bool = False,
    ) -> None:
        self._service = service
        self._path = path
        self._handler = handler
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the handler and send its response."""
        request = Request(scope, receive, send)
        start = time.perf_counter()
        status = _DISCONNECTED
        try:
            with ExitStack() as stack:
                response = await self._respond(request, stack)
                status = response.status_code
                await response(scope, receive, send)
        except ClientDisconnect:
            status = _DISCONNECTED
        finally:
            record(self._service.metrics, request, self._path, status, time.perf_counter() - start)

    async def _respond(self, request: Request, stack: ExitStack) -> Response:
        try:
            if not self._public and not self._service.is_authorized(bearer_token(request.headers.get("authorization"))):
                raise HTTPException(401, "expected Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
            return await self._handler(request, stack)
        except ClientDisconnect:
            raise
        except Exception as error:
            stack.close()  # the error itself needs no memory
            refusal = as_http_error(error)
            if refusal.status_code == 500:
                self._service.log_error(request, self._path)
            return error_response(refusal)


class PiecewiseResponse(Response):
    """A response that is sent in pieces, each when the client has taken the one before; it has a deadline."""

    def __init__(self, reply: Reply, timeout: float) -> None:
        """Send `reply` within `timeout` seconds."""
        super().__init__(None, media_type=reply.media_type)
        self.headers["content-length"] = str(len(reply.content) - reply.start)
        self.headers.update(reply.headers)
        self._reply = reply
        self._timeout = timeout

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        """Send the response. Raises ClientDisconnect if the client does not take it in time."""
        content, end = self._reply.content, len(self._reply.content)
        try:
            async with asyncio.timeout(self._timeout):
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                for start in range(self._reply.start, end, _PIECE):
                    piece = content[start : start + _PIECE]
                    await send({"type": "http.response.body", "body": piece, "more_body": start + _PIECE < end})
        except TimeoutError:
            abort = scope.get("state", {}).get("abort")
            if abort is not None:
                abort()
            raise ClientDisconnect from None


def as_http_error(error: Exception) -> HTTPException:
    """The response to an error of a handler; it says nothing about the inside of the server."""
    if isinstance(error, HTTPException):
        return without_frames(error)
    if isinstance(error, BusyError):
        return HTTPException(429, str(error), _RETRY)
    if isinstance(error, ClosedError):
        return HTTPException(503, str(error), _RETRY)
    return HTTPException(500, "internal error; see the server's log")


def error_response(error: HTTPException) -> Response:
    """An error as JSON."""
    return JSONResponse({"error": error_text(error)}, error.status_code, headers=error.headers)


def error_text(error: HTTPException) -> str:
    """The message of an error; texts of clients in it cannot add lines, and have no half characters."""
    return one_line(error.detail)


def record(metrics: Metrics, request: HTTPConnection, path: str, status: int, seconds: float) -> None:
    """Count a request, and write its line of the access log, which has no query: that may contain a token."""
    metrics.observe(path, status, seconds)
    scope = request.scope
    method = scope.get("method", "WEBSOCKET")
    path_shown = scope["path"][:_MAX_PATH]
    ACCESS_LOGGER.info("%s %s %r %d %.3f", client_address(scope), method, path_shown, status, seconds)


def client_address(scope: Scope) -> str:
    """Address and port of a client; a proxy on this machine names it, so it may be any text."""
    client = scope.get("client")
    return one_line(f"{client[0][:_MAX_PATH]}:{client[1]}") if client else "-"


def bearer_token(authorization: str | None) -> str:
    """The token of an Authorization header; empty without one. The scheme may have any case (RFC 9110)."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def require_token(token: str | None, source: str = "token") -> None:
    """Raise UsageError for a token that no client can send; an empty one would open the server."""
    if token is None:
        return
    if not token:
        raise UsageError(f"{source}: expected a token, got an empty text; leave it out to serve without one")
    if not all("!" <= character <= "~" for character in token):
        raise UsageError(f"{source}: expected printable ASCII characters without spaces or line ends")


def _retrieve(future: "asyncio.Future[Any]") -> None:
    """Retrieve a future's exception; asyncio logs the others."""
    if not future.cancelled():
        future.exception()


def _decode(content: bytes, limits: ServeLimits) -> ImageSource | HTTPException:
    try:
        return decode_image(content, limits)
    except HTTPException as error:
        return without_frames(error)
