"""Which hosts and origins a request may name: protection from web pages of other sites.

A browser lets any page open a WebSocket to a server on its own machine, and a page whose domain name is made to
resolve to that machine (DNS rebinding) is of the same origin as the server.
"""

import ipaddress
import re
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from blitznet.core.errors import UsageError

_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\s]+")
_PORTS = {"http": "80", "https": "443"}
"""port that browsers leave out of an origin"""


def parse_hosts(hosts: Sequence[str]) -> tuple[str, ...]:
    """Domain names as the Host header has them. Raises UsageError for a text that no Host header has."""
    for host in hosts:
        if not _HOST.fullmatch(host.lower()):
            raise UsageError(f"allowed_hosts: expected a domain name without scheme and port, got {host!r}")
    return tuple(host.lower().rstrip(".") for host in hosts)


def parse_origins(origins: Sequence[str]) -> tuple[str, ...]:
    """Origins as browsers send them. Raises UsageError for a text that no browser sends."""
    return tuple(_parse_origin(origin) for origin in origins)


def _parse_origin(text: str) -> str:
    origin = text.lower().rstrip("/")
    if origin in ("*", "null"):  # "null" is a page of a file
        return origin
    authority = _authority(origin) if _ORIGIN.fullmatch(origin) else None
    if authority is None:
        raise UsageError(f"cors: expected an origin such as https://app.example.com, or *, got {text!r}")
    return f"{origin.partition(':')[0]}://{authority}"


class OriginCheck:
    """ASGI middleware that refuses requests of foreign hosts and origins with 403."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Sequence[str] | None,
        origins: Sequence[str],
        record: Callable[[HTTPConnection, int], None],
    ) -> None:
        """Wrap an application.

        Args:
            app: The application.
            hosts: Names that the Host header may have besides addresses and names without a dot, from `parse_hosts`.
                None: any name.
            origins: Origins of other sites that may use the server, from `parse_origins`; "*" is every site.
            record: Records a refused request and its status.
        """
        self._app = app
        self._hosts = None if hosts is None else set(hosts)
        self._origins = set(origins)
        self._record = record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on."""
        refusal = self._refusal(Headers(scope=scope)) if scope["type"] in ("http", "websocket") else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        response = JSONResponse({"error": refusal}, 403)
        self._record(HTTPConnection(scope), response.status_code)
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(response)
        else:
            await response(scope, Request(scope, receive).receive, send)

    def _refusal(self, headers: Headers) -> str | None:
        host = headers.get("host", "").lower()
        if self._hosts is not None and host and not _is_local(host) and _name(host) not in self._hosts:
            return "Host: this name is not allowed; allow it with --allowed-hosts, or use the server's address"
        origin = headers.get("origin", "").lower()
        if not origin or self._origins & {"*", origin}:
            return None
        # Pages cannot set these two headers; proxies change Host.
        hosts = (host, headers.get("x-forwarded-host", host).lower().partition(",")[0].strip())
        scheme, authority = origin.partition(":")[0], _authority(origin)
        is_same = headers.get("sec-fetch-site") == "same-origin" or (
            authority is not None and authority in [_authority(f"{scheme}://{name}") for name in hosts]
        )
        return None if is_same else "Origin: pages of this site are not allowed; allow it with --cors"


def _authority(origin: str) -> str | None:
    """Host and port of an origin, without the port that its scheme has anyway; None if there is no host."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.netloc.removesuffix(f":{_PORTS.get(parts.scheme, '')}") or None


def _name(host: str) -> str:
    """The name or address of a Host header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_local(host: str) -> bool:
    """Whether a host is an address, or a name that public DNS cannot resolve."""
    name = _name(host)
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return bool(name) and ("." not in name or name.endswith(".localhost"))
    return True
