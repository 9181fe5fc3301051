"""The WebSocket: each message is an image, each reply its JSON, in order."""

import asyncio
import json
import time
from contextlib import suppress
from typing import Any

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.websockets import WebSocket, WebSocketDisconnect

from blitznet.serve.admission import BusyError
from blitznet.serve.payload import read_image
from blitznet.serve.request import PredictRequest, parse_request, read_query
from blitznet.serve.service import Call, Service, as_http_error, bearer_token, error_response, error_text, record

PATH = "/v1/stream"
"""path of the WebSocket"""
_TOKEN = "token"
"""query parameter of a client that cannot send headers"""
_MAX_REASON = 123
"""bytes of the reason for which a WebSocket is closed (RFC 6455)"""
_SHUTDOWN = 1012
"""code of a server that restarts"""


async def stream(socket: WebSocket, service: Service) -> None:
    """Serve a WebSocket until its end; a client that sends each frame after the last reply builds up no queue."""
    start = time.perf_counter()
    try:
        token = read_query(socket).get(_TOKEN) or bearer_token(socket.headers.get("authorization"))
        if not service.is_authorized(token):
            raise HTTPException(401, "expected ?token=TOKEN or Authorization: Bearer TOKEN")
        try:
            service.admission.open_stream()
        except BusyError as error:
            raise HTTPException(503, str(error), {"Retry-After": "1"}) from error
    except HTTPException as refusal:
        record(service.metrics, socket, PATH, refusal.status_code, time.perf_counter() - start)
        await socket.send_denial_response(error_response(refusal))
        return
    try:
        await socket.accept()
        await _run(socket, service)
    except (WebSocketDisconnect, OSError):
        return
    finally:
        service.admission.close_stream()
        if (abort := _abort_of(socket)) is not None:  # uvicorn waits for a client that takes nothing
            asyncio.get_running_loop().call_later(service.limits.timeout, abort)


async def _run(socket: WebSocket, service: Service) -> None:
    """Reply to each message."""
    try:
        query = [(name, text) for name, text in socket.query_params.multi_items() if name != _TOKEN]
        options = parse_request(QueryParams(query), tasks=service.tasks)
        if options.format != "json":
            raise HTTPException(406, f"format: expected json, got {options.format!r}")
    except HTTPException as error:
        await socket.close(4400, error_text(error).encode()[:_MAX_REASON].decode(errors="ignore"))
        return
    while (content := await _receive(socket, service)) is not None:
        reply = await _reply(content, options, socket, service)
        try:
            async with asyncio.timeout(service.limits.timeout):
                await socket.send_text(reply.decode())
        except TimeoutError:
            if (abort := _abort_of(socket)) is not None:
                abort()
            return


async def _receive(socket: WebSocket, service: Service) -> bytes | None:
    """The next message; None at the end, after which the WebSocket is closed."""
    try:
        async with asyncio.timeout(service.limits.keep_alive):
            message = await socket.receive()
    except TimeoutError:
        await socket.close(1001, f"no message within {service.limits.keep_alive:g} s")
        return None
    if message["type"] == "websocket.disconnect":
        if message.get("code") == _SHUTDOWN:
            with suppress(WebSocketDisconnect, RuntimeError):
                await socket.close(_SHUTDOWN, "the server is shutting down")
        return None
    content: bytes = message.get("bytes") or (message.get("text") or "").encode()
    return content


async def _reply(content: bytes, options: PredictRequest, socket: WebSocket, service: Service) -> bytes:
    """JSON of a message: its result, or its error, which keeps the WebSocket open."""
    start = time.perf_counter()
    status = 200
    try:
        limit = service.limits.max_body_bytes
        if len(content) > limit:
            raise HTTPException(413, f"expected at most {limit:,} bytes, got {len(content):,}")
        with service.enter() as ticket:
            ticket.set_body(len(content))
            call = Call(service, ticket)
            (image,), fields = await call.read_images(read_image, content, "")
            if fields:
                raise HTTPException(400, "expected parameters in the query of the WebSocket")
            if isinstance(image, HTTPException):
                raise image
            return await call.predict_image(image, options)
    except Exception as error:
        refusal = as_http_error(error)
        status = refusal.status_code
        if status == 500:
            service.log_error(socket, PATH)
        return error_json(refusal)
    finally:
        record(service.metrics, socket, PATH, status, time.perf_counter() - start)


def error_json(error: HTTPException) -> bytes:
    """JSON of an error in the place of a result."""
    return json.dumps({"error": error_text(error), "status": error.status_code}).encode()


def _abort_of(socket: WebSocket) -> Any:
    """The function that closes the connection at once; None without a server of connections."""
    return socket.scope.get("state", {}).get("abort")
