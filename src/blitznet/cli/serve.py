"""`blitznet serve`: an HTTP server with a web page."""

import os
import socket
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from blitznet.cli.console import notify
from blitznet.cli.engines import EngineFlag, ThreadsFlag, engine_summary
from blitznet.cli.flags import metavar
from blitznet.core.errors import UsageError
from blitznet.core.models import DEFAULT
from blitznet.serve.limits import ServeLimits

TOKEN_VARIABLE = "BLITZNET_TOKEN"
"""environment variable with the token"""
_BACKLOG = 1024
_MESSAGE_MARGIN = 1_000_000
"""bytes above --max-body-bytes up to which a WebSocket message gets an error reply; a longer one closes the socket"""
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Serve:
    """Serve predictions over HTTP, with a web page at /.

    Endpoints: POST /v1/predict, POST /v1/predict/batch, the WebSocket /v1/stream, KServe's V2 protocol, /v1/model,
    /healthz, /readyz, /metrics and /openapi.json. Ctrl-C stops accepting images and returns the queued results.

    Examples:
        blitznet serve
        blitznet serve --host 0.0.0.0 --port 8000 --token SECRET
        curl --data-binary @image.jpg "http://127.0.0.1:8000/v1/predict?min_score=0.5"
    """

    model: Annotated[str, metavar("MODEL")] = DEFAULT
    """Name of a model in the package, model file, or folder of a training run. Default: blitznet300-lite."""
    host: Annotated[str, metavar("ADDRESS")] = "127.0.0.1"
    """Address to listen on; 0.0.0.0 accepts other machines. Default: 127.0.0.1."""
    port: Annotated[int, metavar("N")] = 8000
    """Port to listen on; 0 chooses a free one, which the first line of output shows. Default: 8000."""
    engine: EngineFlag = "auto"
    threads: ThreadsFlag = None
    batch: Annotated[int, metavar("N")] = 4
    """Maximum number of queued images that go through the network together. Default: 4."""
    token: Annotated[str | None, metavar("TEXT")] = None
    """Require clients to send `Authorization: Bearer TEXT`. Default: BLITZNET_TOKEN of the environment, if set."""
    limits: tyro.conf.OmitArgPrefixes[ServeLimits] = field(default_factory=ServeLimits)
    """Limits of requests."""


def run(options: Serve) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    import uvicorn

    from blitznet.api import load
    from blitznet.serve.app import make_app

    if not 0 <= options.port < 65536:
        raise UsageError(f"--port: expected 0 to 65535, got {options.port}")
    if options.batch < 1:
        raise UsageError(f"--batch: expected 1 or more, got {options.batch}")
    limits = options.limits
    token = options.token or os.environ.get(TOKEN_VARIABLE) or None
    predictor = load(options.model, engine=options.engine, threads=options.threads)
    with _listen(options.host, options.port) as listener:
        host, port = listener.getsockname()[:2]
        if options.host not in _LOOPBACK and token is None:
            notify("blitznet: every machine that can reach this address can use the server; --token restricts access")
        print(
            f"serving {predictor.spec.name} at http://{host}:{port}   {engine_summary(predictor, options.threads)}",
            flush=True,
        )
        config = uvicorn.Config(
            make_app(predictor, limits=limits, batch=options.batch, token=token),
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=max(1, round(limits.timeout)),
            ws_max_size=limits.max_body_bytes + _MESSAGE_MARGIN,
        )
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)  # clients may connect as soon as the first line is printed
    except OSError as error:
        listener.close()
        reason = error.strerror or error
        raise UsageError(f"{host}:{port}: cannot listen there ({reason}); choose another --port") from error
    return listener
