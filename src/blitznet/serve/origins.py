"""Which hosts and origins a request may name: protection from web pages of other sites.

A browser lets any page open a WebSocket to a server on its own machine, and a page whose domain name is made to
resolve to that machine (DNS rebinding) is of the same origin as the server.
"""

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket


class OriginCheck:
    """ASGI middleware that refuses requests of foreign hosts and origins with 403."""

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str] | None, origins: Sequence[str]) -> None:
        """Wrap an application.

        Args:
            app: The application.
            hosts: Names that the Host header may have besides addresses and names without a dot. None: any name.
            origins: Origins of other sites that may use the server; "*" is every site.
        """
        self._app = app
        self._hosts = None if hosts is None else {host.lower().rstrip(".") for host in hosts}
        self._origins = {origin.lower().rstrip("/") for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on."""
        refusal = self._refusal(Headers(scope=scope)) if scope["type"] in ("http", "websocket") else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        response = JSONResponse({"error": refusal}, 403)
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
        is_same = headers.get("sec-fetch-site") == "same-origin" or urlsplit(origin).netloc in (
            host,
            headers.get("x-forwarded-host", host).lower(),
        )
        return None if is_same else "Origin: pages of this site are not allowed; allow it with --cors"


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
