"""A small HTTP client on asyncio sockets that may misbehave: it sends any bytes, and reads only what it wants."""

import asyncio
import socket
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

CLOSED = 0
"""status of a request whose connection the server closed without a response"""
_PIECE = 1 << 18
"""bytes that are sent at once"""
_TIMEOUT = 120.0
"""seconds after which a client gives a request up"""


@dataclass(frozen=True, slots=True)
class Reply:
    """The response to a request."""

    status: int
    """HTTP status, or CLOSED"""
    seconds: float
    """from the first byte of the request to the last byte of the response"""
    content: bytes = b""


@dataclass
class Tally:
    """Responses of one attack."""

    statuses: Counter[int] = field(default_factory=Counter)
    refusals: list[float] = field(default_factory=list)
    """seconds until each response 429 or 503"""
    accepted: list[float] = field(default_factory=list)
    """seconds until each response 200"""

    def add(self, reply: Reply) -> None:
        """Count a response."""
        self.statuses[reply.status] += 1
        if reply.status == 200:
            self.accepted.append(reply.seconds)
        elif reply.status in (429, 503):
            self.refusals.append(reply.seconds)


@dataclass(frozen=True, slots=True)
class Target:
    """The attacked server."""

    host: str
    port: int
    model: str
    """name of the model in KServe's paths"""

    def post(self, path: str, body: bytes, *headers: str) -> "HttpRequest":
        """A POST request."""
        lines = [f"POST {path} HTTP/1.1", f"Host: {self.host}", f"Content-Length: {len(body)}", *headers]
        return HttpRequest("\r\n".join(lines).encode() + b"\r\n\r\n", body)

    def get(self, path: str, *headers: str) -> "HttpRequest":
        """A GET request."""
        return HttpRequest("\r\n".join([f"GET {path} HTTP/1.1", f"Host: {self.host}", *headers]).encode() + b"\r\n\r\n")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request of HTTP/1.1; large bodies are shared by many requests."""

    head: bytes
    body: bytes = b""


class Client:
    """A connection that is opened when it is needed, and kept while the server keeps it."""

    def __init__(self, target: Target) -> None:
        """Connect later."""
        self._target = target
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._sending: asyncio.Task[None] | None = None

    async def request(self, request: HttpRequest) -> Reply:
        """Send a request, read the response, which may arrive before all is sent."""
        start = time.perf_counter()
        try:
            async with asyncio.timeout(_TIMEOUT):
                status, body, keep = await self._exchange(request)
        except (OSError, EOFError, ValueError, TimeoutError):
            status, body, keep = CLOSED, b"", False
        if not keep:
            self.close()
        return Reply(status, time.perf_counter() - start, body)

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def _exchange(self, request: HttpRequest) -> tuple[int, bytes, bool]:
        """Status, body, and whether the connection can be used again."""
        if self._reader is None or self._writer is None or self._reader.at_eof():
            self.close()
            self._reader, self._writer = await asyncio.open_connection(self._target.host, self._target.port)
        sending = asyncio.create_task(self._send(self._writer, request))
        self._sending = sending  # a task without a reference may vanish
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
            headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
            body = await self._reader.readexactly(int(headers.get(b"content-length", b"0")))
            return int(head[9:12]), body, headers.get(b"connection") != b"close" and sending.done()
        finally:
            if not sending.done():
                self.close()  # ends the task

    async def _send(self, writer: asyncio.StreamWriter, request: HttpRequest) -> None:
        """Send in pieces, because the transport would copy a large body."""
        writer.write(request.head)
        with suppress(OSError):
            for start in range(0, len(request.body), _PIECE):
                writer.write(request.body[start : start + _PIECE])
                await writer.drain()


class RawConnection:
    """A connection that is read byte by byte, with a small buffer of the system."""

    def __init__(self, target: Target) -> None:
        """Connect later."""
        self._target = target
        self._socket = socket.socket(socket.AF_INET6 if ":" in target.host else socket.AF_INET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._receiving: asyncio.Future[int] | None = None

    async def send(self, content: bytes) -> bool:
        """Connect if necessary, and send; False if the server has closed the connection."""
        with suppress(OSError):
            try:
                self._socket.getpeername()
            except OSError:
                await self._loop.sock_connect(self._socket, (self._target.host, self._target.port))
            await self._loop.sock_sendall(self._socket, content)
            return True
        return False

    async def status(self, seconds: float) -> int | None:
        """The status of the response; CLOSED at the end of the connection, None if nothing comes in time."""
        if self._receiving is None:
            self._receiving = asyncio.ensure_future(self._receive())
        done, _ = await asyncio.wait({self._receiving}, timeout=seconds)  # a cancelled one might lose bytes
        return self._receiving.result() if done else None

    async def close(self) -> None:
        """Close the connection."""
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.wait({self._receiving})
        self._socket.close()

    async def _receive(self) -> int:
        try:
            start = await self._loop.sock_recv(self._socket, 12)
        except OSError:
            return CLOSED
        return int(start[9:12]) if len(start) == 12 else CLOSED
