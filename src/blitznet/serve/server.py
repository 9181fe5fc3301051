"""Run the application with uvicorn: connections with limits, a short accept queue and logs."""

import contextlib
import gc
import logging
import socket
import sys

import uvicorn
from starlette.applications import Starlette

from blitznet.serve.connections import MAX_HEADERS, HttpConnection, WebSocketConnection
from blitznet.serve.limits import ServeLimits
from blitznet.serve.memory import return_large_blocks
from blitznet.serve.service import ACCESS_LOGGER

_ACCEPTED_AT_ONCE = 16
"""connections that the event loop accepts before it serves those it has; asyncio logs each one beyond the file limit"""
# An evicted connection is closed two turns of the loop after the one for which it was evicted was accepted: three times
# this number are open besides the counted ones, and have to fit into `_RESERVED_FILES`.
_BACKLOG = 1024
"""connections that the system queues"""
_RESERVED_FILES = 96
"""open files that are not connections: libraries, the model, and connections that are being closed"""
_MIN_CONNECTIONS = 8
_SWITCH_INTERVAL = 0.0002
"""seconds after which a worker lets the event loop run"""
_GC_THRESHOLDS = (50_000, 10, 10)
"""allocations between garbage collections: while they run, the event loop waits, and large JSON allocates a lot"""
_MESSAGE_MARGIN = 1_000_000
"""bytes above max_body_bytes up to which a WebSocket message gets an error reply; a longer one closes the socket"""
_FORMAT = "%(asctime)s %(levelname)s %(message)s"


class Server(uvicorn.Server):
    """uvicorn's server; `started` is set when it accepts connections."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and let the system queue more connections than are accepted at once."""
        sys.setswitchinterval(_SWITCH_INTERVAL)
        gc.set_threshold(*_GC_THRESHOLDS)
        gc.collect()
        gc.freeze()  # modules and the model are never garbage, and a collection takes time for each object
        return_large_blocks()
        await super().startup(sockets)
        for server in self.servers:
            for listener in server.sockets:
                _listen_again(listener)


def _listen_again(listener: "socket.socket") -> None:
    duplicate = socket.socket(fileno=listener.fileno())  # the event loop's wrapper has no listen()
    try:
        duplicate.listen(_BACKLOG)
    finally:
        duplicate.detach()


def make_server(app: Starlette, limits: ServeLimits) -> Server:
    """A server of an application; `run(sockets=[...])` serves until a signal.

    Args:
        app: From `make_app` with the same limits.
        limits: Limits of requests.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        http=HttpConnection,
        h11_max_incomplete_event_size=MAX_HEADERS,
        ws=WebSocketConnection,
        ws_max_size=limits.max_body_bytes + _MESSAGE_MARGIN,
        ws_per_message_deflate=False,  # images are compressed already
        backlog=_ACCEPTED_AT_ONCE,
        timeout_keep_alive=max(1, round(limits.keep_alive)),
        timeout_graceful_shutdown=max(1, round(limits.timeout)),
    )
    return Server(config)


def set_up_logs(*, access: bool) -> None:
    """Log errors to stderr with the time, and with `access` a line for each request."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT))
    for name in ("blitznet.serve", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.ERROR)  # uvicorn warns of each invalid request
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of each invalid form
    ACCESS_LOGGER.setLevel(logging.INFO if access else logging.ERROR)


def connection_limit(limits: ServeLimits) -> int:
    """`max_connections`, or fewer if the process may not open so many files; raises the soft limit as far as needed."""
    try:
        import resource
    except ImportError:  # not on Windows
        return limits.max_connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = limits.max_connections + _RESERVED_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return limits.max_connections
    target = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
    if target > soft:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
    available = max(soft, resource.getrlimit(resource.RLIMIT_NOFILE)[0]) - _RESERVED_FILES
    return max(_MIN_CONNECTIONS, min(limits.max_connections, available))
