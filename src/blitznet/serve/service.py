"""Service: the state that the routes share, and the wrappers that make routes public or protected."""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource
from blitznet.runtime.predictor import BasePredictor
from blitznet.serve.limits import ServeLimits
from blitznet.serve.metrics import Metrics
from blitznet.serve.pool import BusyError, ClosedError, Job, Pool, Render
from blitznet.serve.request import PredictRequest
from blitznet.serve.response import render_response

Handler = Callable[[Request], Awaitable[Response]]

_RETRY = {"Retry-After": "1"}


@dataclass(frozen=True, eq=False)
class Service:
    """What the routes share: predictor, worker pool, limits, metrics and token."""

    predictor: BasePredictor
    pool: Pool
    limits: ServeLimits
    metrics: Metrics
    token: str | None = None
    """bearer token of the protected routes; None if every route is public"""

    async def predict(self, image: ImageSource, request: PredictRequest) -> bytes:
        """The body of the response to a request for one image; raises as `submit`."""
        render = partial(render_response, request)
        return await self.submit(image, render, min_score=request.min_score, class_map=request.needs_class_map)

    async def submit(self, image: ImageSource, render: Render, *, min_score: float, class_map: bool) -> bytes:
        """Queue an image and wait for its rendered result.

        Raises:
            HTTPException: 415 for an image that cannot be decoded, 429 if the queue is full, 503 if the result is
                not ready in time or the server shuts down.
        """
        try:
            future = self.pool.submit(Job(image, min_score, class_map, render))
        except BusyError as error:
            raise HTTPException(429, str(error), _RETRY) from error
        except ClosedError as error:
            raise HTTPException(503, str(error), _RETRY) from error
        try:
            content = await asyncio.wait_for(asyncio.wrap_future(future), self.limits.timeout)
        except TimeoutError:
            raise HTTPException(503, f"no result within {self.limits.timeout:g} s", _RETRY) from None
        except DataError as error:
            raise HTTPException(415, str(error)) from error
        self.metrics.images.inc()
        return content

    def is_authorized(self, token: str) -> bool:
        """Whether a client's token is correct, compared in constant time; always true without a token."""
        return self.token is None or hmac.compare_digest(token.encode(), self.token.encode())

    def public_route(self, path: str, handler: Handler) -> Route:
        """A GET route without a token."""
        return Route(path, self._counted(path, handler), methods=["GET"])

    def protected_route(self, path: str, handler: Handler, method: str = "POST") -> Route:
        """A route that requires the token."""
        return Route(path, self._counted(path, self._authorized(handler)), methods=[method])

    def _authorized(self, handler: Handler) -> Handler:
        async def authorized(request: Request) -> Response:
            if not self.is_authorized(bearer_token(request.headers.get("authorization"))):
                raise HTTPException(401, "expected Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
            return await handler(request)

        return authorized

    def _counted(self, path: str, handler: Handler) -> Handler:
        """The handler, with its requests counted and timed."""

        async def counted(request: Request) -> Response:
            start = time.perf_counter()
            status = 500
            try:
                response = await handler(request)
                status = response.status_code
            except HTTPException as error:
                status = error.status_code
                raise
            except ClientDisconnect:
                status = 499
                return Response(status_code=400)  # discarded: the client has disconnected
            finally:
                self.metrics.requests.labels(path, str(status)).inc()
                self.metrics.seconds.labels(path).observe(time.perf_counter() - start)
            return response

        return counted


def bearer_token(authorization: str | None) -> str:
    """The token of an Authorization header; empty without one."""
    return (authorization or "").removeprefix("Bearer ")
