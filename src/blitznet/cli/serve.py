"""`blitznet serve`: a server for images, with a page."""

import os
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from blitznet.cli.engines import EngineFlag, ThreadsFlag, ran
from blitznet.cli.flags import metavar
from blitznet.core.errors import UsageError
from blitznet.core.models import DEFAULT

if TYPE_CHECKING:
    from blitznet.serve.limits import ServeLimits

TOKEN = "BLITZNET_TOKEN"
"""the variable of the environment that holds the token where no flag does"""
_BACKLOG = 1024
_SPARE = 1_000_000
"""bytes beyond the limit that a WebSocket's message may have to be told so in words; a longer one ends the line"""
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Serve:
    """Answer images by HTTP: POST /v1/predict, and a page at /.

    Also a batch of images, KServe's second protocol, a WebSocket for cameras, /healthz, /readyz, /metrics and
    /openapi.json. Ctrl-C takes nothing more and answers what waits.
    """

    model: str = DEFAULT
    """Name of a model of the package, a model's file or a run folder."""
    host: str = "127.0.0.1"
    """Address to listen at: by default this machine alone. Others can reach 0.0.0.0."""
    port: int = 8000
    """0: any that is free; the first line says which."""
    engine: EngineFlag = "auto"
    """What computes. Not given: the fastest that is installed."""
    threads: ThreadsFlag = None
    """Threads of computing. Not given: one for each processor."""
    batch: int = 4
    """Images that go through the network together, of those that wait."""
    queue: int = 64
    """Images that may wait; beyond them a client is told 429."""
    max_body: int = 20_000_000
    """Bytes of a request, or of a WebSocket's message."""
    max_pixels: int = 50_000_000
    """Pixels of a image."""
    max_images: Annotated[int | None, metavar("INT")] = None
    """Images of one request of several, at most as many as may wait. Not given: 16, or what the queue holds."""
    seconds: float = 30.0
    """Time for a request to come in, and for its answer."""
    token: Annotated[str | None, metavar("TEXT")] = None
    """What clients must send as Authorization: Bearer TEXT. Not given: BLITZNET_TOKEN of the environment, or none."""


def run(options: Serve) -> int:
    """Serve until somebody ends it."""
    import uvicorn

    from blitznet.api import load
    from blitznet.serve.app import make_app

    if not 0 <= options.port < 65536:
        raise UsageError(f"--port: expected 0 to 65535, got {options.port}")
    if options.batch < 1:
        raise UsageError(f"--batch: expected 1 or more, got {options.batch}")
    limits = _limits(options)
    token = options.token or os.environ.get(TOKEN) or None
    predictor = load(options.model, engine=options.engine, threads=options.threads)
    listening = _listening(options.host, options.port)
    with listening:
        host, port = listening.getsockname()[:2]
        if options.host not in _LOOPBACK and token is None:
            print("blitznet: everybody who reaches this machine can use it; --token keeps others out", file=sys.stderr)
        print(f"serving {predictor.spec.name} at http://{host}:{port}   {ran(predictor, options.threads)}", flush=True)
        app = make_app(predictor, limits=limits, batch=options.batch, token=token)
        grace = max(1, round(options.seconds))
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=grace,
            ws_max_size=limits.body + _SPARE,
        )
        uvicorn.Server(config).run(sockets=[listening])
    return 0


def _limits(options: Serve) -> "ServeLimits":
    from blitznet.serve.limits import IMAGES, ServeLimits

    images = min(IMAGES, options.queue) if options.max_images is None else options.max_images
    try:
        return ServeLimits(options.max_body, options.max_pixels, images, queue=options.queue, seconds=options.seconds)
    except UsageError as error:
        raise UsageError(f"limits: {error}") from error


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(_BACKLOG)  # whoever reads our first line may connect
    except OSError as error:
        listening.close()
        reason = error.strerror or error
        raise UsageError(f"{host}:{port}: cannot listen there ({reason}); give another --port") from error
    return listening
