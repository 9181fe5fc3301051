"""`blitznet serve`: an HTTP server with a web page."""

import ipaddress
import os
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from blitznet.cli.console import notify
from blitznet.cli.engines import EngineFlag, ThreadsFlag, TrustFlag, engine_summary
from blitznet.cli.flags import metavar
from blitznet.core.errors import UsageError
from blitznet.core.models import DEFAULT
from blitznet.serve.limits import TOKEN_VARIABLE, ServeLimits

_BACKLOG = 1024


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
    trust: TrustFlag = False
    batch: Annotated[int, metavar("N")] = 4
    """Maximum number of queued images that go through the network together. Default: 4."""
    token: Annotated[str | None, metavar("TEXT")] = None
    """Require clients to send `Authorization: Bearer TEXT`. Default: BLITZNET_TOKEN of the environment, if set."""
    allowed_hosts: Annotated[tuple[str, ...], metavar("NAME")] = ()
    """Domain names that clients may use for this server, such as that of a proxy. On loopback other names are refused,
    which stops DNS rebinding; addresses and names without a dot always work."""
    cors: Annotated[tuple[str, ...], metavar("ORIGIN")] = ()
    """Origins of web pages of other sites that may use the server, such as https://example.com; * is every site."""
    access_log: bool = False
    """Log each request to stderr: time, client, method, path, status and seconds."""
    limits: tyro.conf.OmitArgPrefixes[ServeLimits] = field(default_factory=ServeLimits)
    """Limits of requests."""


def run(options: Serve) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    from blitznet.api import load
    from blitznet.serve.app import make_app
    from blitznet.serve.origins import parse_hosts, parse_origins
    from blitznet.serve.server import connection_limit, make_server, set_up_logs
    from blitznet.serve.service import require_token

    _require_texts(options)
    if not 0 <= options.port < 65536:
        raise UsageError(f"--port: expected 0 to 65535, got {options.port}")
    if options.batch < 1:
        raise UsageError(f"--batch: expected 1 or more, got {options.batch}")
    limits = options.limits
    token = os.environ.get(TOKEN_VARIABLE) if options.token is None else options.token
    require_token(token, TOKEN_VARIABLE if options.token is None else "--token")
    hosts, origins = parse_hosts(options.allowed_hosts), parse_origins(options.cors)
    predictor = load(options.model, engine=options.engine, threads=options.threads, trust=options.trust)
    with _listen(options.host, options.port) as listener:
        host, port = listener.getsockname()[:2]
        is_local = ipaddress.ip_address(host.partition("%")[0]).is_loopback
        if not is_local and token is None:
            notify("blitznet: every machine that can reach this address can use the server; --token restricts access")
        max_connections = connection_limit(limits)
        if max_connections < limits.max_connections:
            notify(f"blitznet: at most {max_connections} connections: this process may open few files (ulimit -n)")
        address = f"[{host}]" if ":" in host else host
        print(
            f"serving {predictor.spec.name} at http://{address}:{port}   {engine_summary(predictor, options.threads)}",
            flush=True,
        )
        app = make_app(
            predictor,
            limits=limits,
            batch=options.batch,
            token=token,
            hosts=hosts if is_local or hosts else None,
            origins=origins,
            max_connections=max_connections,
        )
        set_up_logs(access=options.access_log)
        with suppress(KeyboardInterrupt):  # uvicorn repeats the signal that it ended for
            make_server(app, limits).run(sockets=[listener])
    return 0


def _require_texts(options: Serve) -> None:
    """Raise UsageError for an empty text, which an unset variable of a shell gives."""
    texts = {"--model": [options.model], "--host": [options.host]}
    texts |= {"--allowed-hosts": list(options.allowed_hosts), "--cors": list(options.cors)}
    for flag, values in texts.items():
        if not all(value.strip() for value in values):
            raise UsageError(f"{flag}: expected a text, got an empty one")


def _listen(host: str, port: int) -> socket.socket:
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"--host: expected an address of this machine, got {host!r}, which cannot be resolved"
        ) from error
    family, _, _, _, address = min(addresses, key=lambda entry: entry[0] != socket.AF_INET)  # IPv4 first
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(_BACKLOG)  # clients may connect as soon as the first line is printed
    except OSError as error:
        listener.close()
        reason = error.strerror or error
        raise UsageError(f"{host}:{port}: cannot listen there ({reason}); choose another --port") from error
    return listener
