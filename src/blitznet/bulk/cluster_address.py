"""A check whether a Ray cluster answers at an address. Ray itself tries an address without a cluster for minutes."""

import os
import socket
from urllib.parse import urlsplit

from blitznet.core.errors import UsageError

_CLIENT = "ray://"
"""start of an address of Ray Client"""
_SECONDS = 4.0
"""time for each of the connection and the answer"""
_SETTINGS = 4
"""type of the frame that an HTTP/2 server sends first (RFC 9113, section 3.4)"""
_HEADER_BYTES = 9
"""length of a frame's header: length (3), type (1), flags (1), stream (4)"""
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, _SETTINGS, 0, 0, 0, 0, 0])
"""what an HTTP/2 client sends first, with empty settings"""


def address_error(address: str, reason: str) -> UsageError:
    """The error of an address without a cluster."""
    return UsageError(
        "--ray: expected the address of a Ray cluster such as 10.0.0.1:6379 or ray://10.0.0.1:10001, auto for the one "
        f"of this machine, or local to start one, got '{address}' ({' '.join(reason.split())[:200]})"
    )


def require_cluster(address: str) -> None:
    """Check that a server at an address speaks gRPC, as each Ray cluster does. It takes seconds at most.

    Args:
        address: HOST:PORT, or ray://HOST:PORT.

    Raises:
        UsageError: The address is not of this form, or no such server answers.
    """
    reason = _reason(*_split(address))
    if reason is not None:
        raise address_error(address, reason)


def _split(address: str) -> tuple[str, int]:
    """Host and port of an address."""
    try:
        parts = urlsplit("//" + address.removeprefix(_CLIENT))
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise address_error(address, str(error)) from error
    if "://" in address.removeprefix(_CLIENT) or not host or not port:
        raise address_error(address, "it has no host and port")
    return host, port


def _reason(host: str, port: int) -> str | None:
    """Why a server cannot be a Ray cluster; None if it can."""
    try:
        with socket.create_connection((host, port), _SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
                return None  # Ray has the certificates
            connection.sendall(_PREFACE)
            header = connection.makefile("rb").read(_HEADER_BYTES)
    except (OSError, UnicodeError) as error:  # UnicodeError: a label of the host is too long
        return getattr(error, "strerror", None) or str(error)
    is_settings = len(header) == _HEADER_BYTES and header[3] == _SETTINGS
    return None if is_settings else "another server answers there"
