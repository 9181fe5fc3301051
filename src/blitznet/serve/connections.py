"""uvicorn's protocols with deadlines: what a client owes, it must send or take in time.

uvicorn has no limit of connections that counts idle ones, none for headers that arrive slowly, for a message of a
WebSocket, or for a response that is not taken. The handlers limit bodies and results (`service.py`).
"""

import asyncio
import http
from typing import Any

import h11
from uvicorn._types import HTTPScope
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.server import ServerProtocol

from blitznet.serve.admission import Admission, BusyError

_READ_SIZE = 1 << 14
"""bytes that are parsed at once: the event loop serves the other connections in between"""
MAX_HEADERS = 32_768
"""bytes of the start line and the headers of a request, which are parsed at once"""
_MIN_CHUNK = 8
"""average number of bytes for each line end of a chunked body; parsing takes time for each chunk"""
_LINGER = 1.0
"""seconds that a refused connection stays open"""
_MAX_FRAGMENTS = 1024
"""maximum number of frames of one WebSocket message"""


class _LingeringTransport:
    """A transport whose `close` waits for the rest of a body, and discards it.

    A socket that is closed while bytes arrive resets the connection, and the client loses the response.
    """

    def __init__(self, transport: asyncio.Transport, connection: "HttpConnection | WebSocketConnection") -> None:
        self._transport = transport
        self.connection = connection
        self._lingers = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._lingers or self._transport.is_closing()

    def close(self) -> None:
        if self._lingers or self._transport.is_closing() or not self.connection.discard_rest():
            self._transport.close()
            return
        self._lingers = True
        self._transport.write_eof()


class _Connection:
    """What the protocols share: the admission, and one deadline for what the client owes. uvicorn's class follows."""

    loop: asyncio.AbstractEventLoop
    transport: Any

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """`app_state` has the `admission` and the `timeout` in seconds; handlers find `abort` there."""
        super().__init__(config, server_state, {**app_state, "abort": self.evict}, _loop)  # type: ignore[call-arg]
        self._admission: Admission = app_state["admission"]
        self._timeout: float = app_state["timeout"]
        self._deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None

    def evict(self) -> None:
        """Close the connection at once."""
        self.transport.abort()

    def pause_writing(self) -> None:
        """Set a deadline for the client to take what waits; a handler cannot, as it waits itself."""
        super().pause_writing()  # type: ignore[misc]
        self._write_deadline = self.loop.call_later(self._timeout, self.evict)

    def resume_writing(self) -> None:
        """The client has taken most of it."""
        self._clear_write_deadline()
        super().resume_writing()  # type: ignore[misc]

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the connection no longer."""
        self._clear_deadline()
        self._clear_write_deadline()
        self._admission.disconnect(self)
        super().connection_lost(exc)  # type: ignore[misc]

    def _set_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self._timeout, self._expire)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _clear_write_deadline(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def _expire(self) -> None:
        """The client did not keep the deadline."""
        raise NotImplementedError


class HttpConnection(_Connection, H11Protocol):
    """An HTTP connection that counts in the admission and has deadlines."""

    _refused = False
    """whether what arrives is discarded"""

    @property
    def _busy(self) -> bool:
        """Whether a handler works on a request."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse the connection with 503 if there are too many; otherwise wait for a request."""
        super().connection_made(_LingeringTransport(transport, self))  # type: ignore[arg-type]
        if hasattr(transport, "max_size"):  # asyncio's own
            transport.max_size = _READ_SIZE
        if self._admission.connect(self):
            self._set_deadline()
            return
        self._refused = True
        content, header = b'{"error": "too many connections are open"}', (b"retry-after", b"1")
        self._respond(503, content, header, linger=self._admission.linger(self))

    def data_received(self, data: bytes) -> None:
        """Parse, and set a deadline for what is not complete."""
        if self._refused:
            return
        if self._is_fragmented(data):
            self.evict()
            return
        super().data_received(data)
        self._update()

    def on_response_complete(self) -> None:
        """Set a deadline for the rest of the request and for the client to take the response."""
        super().on_response_complete()
        if not self._busy and (self.conn.their_state is h11.SEND_BODY or self.transport.get_write_buffer_size()):
            self._set_deadline()
        self._update(data=False)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection to the WebSocket protocol."""
        self._clear_deadline()
        super().handle_websocket_upgrade(event)
        self._admission.disconnect(self)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - always "Invalid HTTP request received."
        """Refuse what is not HTTP, unless a response has begun; the handler of the request learns of the end."""
        if self._busy:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.evict()
        elif len(self.conn.trailing_data[0]) > MAX_HEADERS:
            self._respond(431, b'{"error": "expected headers of at most %d bytes"}' % MAX_HEADERS)
        else:
            self._respond(400, b'{"error": "expected a request of HTTP/1.1"}')

    def shutdown(self) -> None:
        """Close when idle; otherwise announce the close in the response under way."""
        if self._busy and CLOSE_HEADER not in self.cycle.scope["headers"]:
            self.cycle.scope["headers"] = [*self.cycle.scope["headers"], CLOSE_HEADER]
        super().shutdown()

    def discard_rest(self) -> bool:
        """Discard the rest of the request for at most the timeout; False if there is none."""
        if self._refused or self.conn.their_state is not h11.SEND_BODY:
            return False
        self._refused = True
        self.flow.resume_reading()
        self._admission.set_idle(self, True)
        self.loop.call_later(self._timeout, self.evict)
        return True

    def _should_upgrade(self) -> bool:
        """Whether the request is a complete handshake; a handler answers any other, and uvicorn would not."""
        return super()._should_upgrade() and _is_handshake(self.scope, self.headers)

    def _update(self, *, data: bool = True) -> None:
        if self.transport.get_protocol() is not self or self.transport.is_closing():
            return
        self._admission.set_idle(self, not self._busy)
        if self._busy:
            self._clear_deadline()
        elif data and self._deadline is None:
            self._set_deadline()

    def _is_fragmented(self, data: bytes) -> bool:
        """Whether a chunked body comes in very small chunks."""
        if self.conn.their_state is not h11.SEND_BODY or len(data) <= _READ_SIZE // 2:
            return False
        is_chunked = any(name == b"transfer-encoding" for name, _ in self.headers)
        return is_chunked and data.count(b"\r\n") * _MIN_CHUNK > len(data)  # counting takes time

    def _expire(self) -> None:
        self._deadline = None
        if self._busy:
            return
        if self.conn.our_state is h11.IDLE and not self.transport.get_write_buffer_size():
            self._respond(408, b'{"error": "the request did not arrive in time"}', (b"retry-after", b"1"))
        else:
            self.evict()

    def _respond(
        self, status: int, content: bytes, *further_headers: tuple[bytes, bytes], linger: bool = False
    ) -> None:
        """Send a response without a handler, and close: at once, or after a second.

        A socket that is closed while bytes arrive resets the connection, and the client loses the response.
        """
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(content)),
            CLOSE_HEADER,
            *further_headers,
        ]
        response = h11.Response(status_code=status, headers=headers, reason=http.HTTPStatus(status).phrase.encode())
        for event in (response, h11.Data(data=content), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        if linger:
            self.transport.write_eof()
            self.loop.call_later(_LINGER, self.evict)
        else:
            self.transport.close()


def _is_handshake(scope: HTTPScope, headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether websockets accepts a request, as uvicorn will pass it on."""
    protocol = ServerProtocol()
    target = b"%s?%s" % (scope["raw_path"], scope["query_string"])
    start = b"%s %s HTTP/%s" % (scope["method"].encode(), target, scope["http_version"].encode())
    protocol.receive_data(b"\r\n".join([start, *(b"%s: %s" % header for header in headers), b"", b""]))
    requests = [event for event in protocol.events_received() if isinstance(event, Request)]
    return any(protocol.accept(request).status_code == http.HTTPStatus.SWITCHING_PROTOCOLS for request in requests)


class WebSocketConnection(_Connection, WebSocketsSansIOProtocol):
    """A WebSocket that counts in the admission; a message must arrive in time."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        """Called by `HttpConnection` on the upgrade."""
        super().__init__(*arguments, **settings)
        self._ticket = self._admission.message()
        self._fragments = self._message = 0  # bytes of an incomplete, and of complete messages that wait

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection."""
        super().connection_made(transport)
        assert isinstance(transport, _LingeringTransport)
        assert isinstance(transport.connection, HttpConnection)
        self._admission.replace(transport.connection, self)
        transport.connection = self

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the connection and its bytes no longer."""
        self._ticket.close()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Read nothing either: each ping is answered, and the answers would fill the memory."""
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again, unless a message waits for the handler."""
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()

    def discard_rest(self) -> bool:
        """Discard what arrives after the close, for at most the timeout; a new connection may end this."""
        self.transport.resume_reading()
        self._admission.set_idle(self, True)
        self.loop.call_later(self._timeout, self.evict)
        return True

    def data_received(self, data: bytes) -> None:
        """Parse, count the bytes that wait, and set a deadline for an incomplete message."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        partial = len(self.conn.reader.buffer) + self._fragments
        try:
            self._ticket.set_body(partial + self._message)
        except BusyError as error:
            self._fail(1013, str(error))
            return
        if not partial:
            self._clear_deadline()
        else:
            self._set_deadline()

    def handle_bytes(self, event: Frame) -> None:
        """Count a frame."""
        self._count(event)
        super().handle_bytes(event)

    def handle_text(self, event: Frame) -> None:
        """Treat text as bytes: uvicorn would decode it in the event loop, and log text that is not UTF-8."""
        self.handle_bytes(event)

    def handle_cont(self, event: Frame) -> None:
        """Count a frame of a message in several frames."""
        if len(self.frames) >= _MAX_FRAGMENTS:
            self._fail(1009, f"expected at most {_MAX_FRAGMENTS} frames of a message")
            return
        self._count(event)
        super().handle_cont(event)

    async def receive(self) -> Any:
        """The next message, which the handler counts from now on."""
        message = await super().receive()  # which reads again
        if not self.writable.is_set():
            self.transport.pause_reading()
        content: Any = message.get("bytes") or message.get("text") or b""
        self._message = max(0, self._message - len(content)) if not self.queue.empty() else 0
        self._ticket.set_body(len(self.conn.reader.buffer) + self._fragments + self._message)
        return message

    async def send(self, message: Any) -> None:
        """Send a message, or an HTTP response in place of the handshake."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True  # uvicorn logs an error otherwise

    def shutdown(self) -> None:
        """End the messages after those that have arrived; the handler closes the WebSocket."""
        if not self.handshake_complete or self.close_sent:
            super().shutdown()
            return
        self.stop_keepalive()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1012})

    def _count(self, event: Frame) -> None:
        self._fragments += len(event.data)
        if event.fin:
            self._message += self._fragments
            self._fragments = 0

    def _expire(self) -> None:
        self._fail(1008, "the message did not arrive in time")

    def _fail(self, code: int, reason: str) -> None:
        """Close the WebSocket with a code, without waiting for the client."""
        self._clear_deadline()
        if self.transport.is_closing():
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code})
        self.conn.fail(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.transport.close()
        self.loop.call_later(self._timeout, self.transport.abort)
