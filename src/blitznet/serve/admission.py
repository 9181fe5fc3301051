"""Admission: the one place that counts connections, requests and bytes from the first byte to the last.

HTTP, KServe and WebSockets share it. A `Ticket` counts one request: while its body arrives and is parsed it takes one
of `max_queue` slots, as the images in the queue do, and the bytes of its body and of its response count until the
response is sent. The queue itself is in `pool.py`. All methods are called in the event loop.
"""

from types import TracebackType
from typing import Protocol, Self

from blitznet.serve.limits import ServeLimits

_MAX_LINGERING = 16
"""maximum number of refused connections that stay open for a moment"""


class BusyError(Exception):
    """The server has no capacity for a request."""


class Evictable(Protocol):
    """A connection that the server can close."""

    def evict(self) -> None:
        """Close the connection, which has no request under way."""


class Admission:
    """Counts what is under way, and refuses more than the limits."""

    def __init__(self, limits: ServeLimits, *, max_connections: int | None = None) -> None:
        """Nothing is under way yet.

        Args:
            limits: Limits of requests.
            max_connections: Maximum number of open connections. Default: that of the limits.
        """
        self._limits = limits
        self._max_connections = max_connections or limits.max_connections
        self._open: set[Evictable] = set()
        self._idle: dict[Evictable, None] = {}  # the longest idle one first
        self._lingering: set[Evictable] = set()
        self.entered = 0
        """number of requests that were admitted since the start"""
        self.receiving = 0
        """number of requests whose body arrives or is parsed"""
        self.streams = 0
        """number of open WebSockets"""
        self.body_bytes = 0
        """bytes of bodies in memory, above what each request may always have"""
        self.response_bytes = 0
        """bytes of responses in memory"""

    @property
    def pending_bytes(self) -> int:
        """Bytes of bodies, above what each request may always have, and of responses."""
        return self.body_bytes + self.response_bytes

    @property
    def idle(self) -> bool:
        """Whether no body and no response is in memory."""
        return not self.receiving and not self.pending_bytes

    # ---- connections

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._open)

    def connect(self, connection: Evictable) -> bool:
        """Count a new connection, and close the longest idle one if there are too many; False if all are busy."""
        if len(self._open) >= self._max_connections:
            if not self._idle:
                return False
            oldest = next(iter(self._idle))
            self.disconnect(oldest)
            oldest.evict()
        self._open.add(connection)
        self._idle[connection] = None
        return True

    def linger(self, connection: Evictable) -> bool:
        """Whether a refused connection may stay open for a moment; few may at once."""
        if len(self._lingering) >= _MAX_LINGERING:
            return False
        self._lingering.add(connection)
        return True

    def set_idle(self, connection: Evictable, idle: bool) -> None:
        """Record whether a connection has no request under way; it may then be closed for a new one."""
        if not idle:
            self._idle.pop(connection, None)
        elif connection in self._open:
            self._idle.setdefault(connection)

    def replace(self, connection: Evictable, replacement: Evictable) -> None:
        """Count a connection that became a WebSocket under its new protocol."""
        self.disconnect(connection)
        self._open.add(replacement)

    def disconnect(self, connection: Evictable) -> None:
        """Count a connection no longer."""
        self._open.discard(connection)
        self._lingering.discard(connection)
        self._idle.pop(connection, None)

    # ---- WebSockets

    def open_stream(self) -> None:
        """Count a WebSocket. Raises BusyError beyond half of the connections, which keeps the other half for HTTP."""
        if self.streams >= max(1, self._max_connections // 2):
            raise BusyError("too many WebSockets are open")
        self.streams += 1

    def close_stream(self) -> None:
        """Count a WebSocket no longer."""
        self.streams -= 1

    # ---- requests

    def enter(self, waiting: int) -> "Ticket":
        """Admit a request before its body is read.

        Requests that arrive will need places in the queue. Without counting both, some would be refused only after
        their bodies have been read and parsed.

        Args:
            waiting: Number of images in the queue.

        Raises:
            BusyError: There is no slot, or responses need too much memory.
        """
        if self.receiving + waiting >= self._limits.max_queue:
            raise BusyError(f"the queue is full: {waiting} waiting, {self.receiving} arriving")
        if self.response_bytes >= self._limits.pending_bytes:
            raise BusyError("too many responses wait for their clients")
        self.entered += 1
        self.receiving += 1
        return Ticket(self, self._limits, receiving=True)

    def message(self) -> "Ticket":
        """A ticket for the message that a WebSocket receives; it takes no slot."""
        return Ticket(self, self._limits, receiving=False)


class Ticket:
    """The admission of one request; close it when the last byte of the response is sent."""

    def __init__(self, admission: Admission, limits: ServeLimits, *, receiving: bool) -> None:
        """Called by `Admission`."""
        self._admission = admission
        self._limits = limits
        self._receiving = receiving
        self._share = limits.pending_bytes // limits.max_queue
        self._body = self._response = 0

    def set_body(self, size: int) -> None:
        """Count the bytes of the body in memory.

        Each request may always have `max_pending_bytes` / `max_queue` bytes, so that large bodies do not keep out
        small ones.

        Raises:
            BusyError: All bodies together are too large.
        """
        pooled = max(0, size - self._share)
        total = self._admission.body_bytes - self._body + pooled
        if pooled > self._body and total > self._limits.pending_bytes:
            raise BusyError("too many large requests are arriving")
        self._admission.body_bytes = total
        self._body = pooled

    def received(self) -> None:
        """Leave the slot: the body has arrived and is parsed."""
        if self._receiving:
            self._receiving = False
            self._admission.receiving -= 1

    def set_response(self, size: int) -> None:
        """Count the bytes of the response. Raises BusyError if all responses together are too large."""
        self.set_body(0)
        total = self._admission.response_bytes - self._response + size
        if total > 2 * self._limits.pending_bytes:
            raise BusyError("too many responses wait for their clients")
        self._admission.response_bytes = total
        self._response = size

    def close(self) -> None:
        """Count the request no longer."""
        self.received()
        self.set_body(0)
        self._admission.response_bytes -= self._response
        self._response = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
