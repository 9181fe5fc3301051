"""Addresses without a cluster are refused in seconds, by servers of the test on this machine."""

import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Thread

import pytest

from blitznet.bulk import cluster_address
from blitznet.bulk.cluster_address import require_cluster
from blitznet.core.errors import UsageError

SETTINGS = bytes([0, 0, 6, 4, 0, 0, 0, 0, 0]) + bytes([0, 5, 0, 0, 64, 0])
"""what a gRPC server sends first: a frame of settings"""


@contextmanager
def server(answer: bytes, *, is_silent: bool = False) -> Iterator[int]:
    """A server on this machine that sends an answer to what it receives first; yields its port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)
                if is_silent:
                    connection.recv(1)

        thread = Thread(target=serve)
        thread.start()
        yield int(listening.getsockname()[1])
        thread.join()


@pytest.mark.parametrize("start", ["", "ray://"])
def test_a_server_of_grpc_is_accepted(start: str) -> None:
    with server(SETTINGS) as port:
        require_cluster(f"{start}127.0.0.1:{port}")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", SETTINGS[:5]])
def test_another_server_is_refused(answer: bytes) -> None:
    with server(answer) as port, pytest.raises(UsageError, match="another server answers there"):
        require_cluster(f"127.0.0.1:{port}")


def test_a_server_that_does_not_answer_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_address, "_SECONDS", 0.2)
    start = time.monotonic()
    with server(b"", is_silent=True) as port, pytest.raises(UsageError, match="timed out"):
        require_cluster(f"127.0.0.1:{port}")
    assert time.monotonic() - start < 10


def test_a_server_with_certificates_is_left_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USE_TLS", "1")
    with server(b"") as port:
        require_cluster(f"127.0.0.1:{port}")


def test_a_port_without_a_server() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(UsageError, match=rf"got '127.0.0.1:{port}' \(Connection refused\)"):
        require_cluster(f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    "address",
    ["nonsense", "", "ray://", "host:", ":6379", "host:0", "host:99999", "host:port", "http://host:8265", "[::1:3"],
)
def test_addresses_of_another_form(address: str) -> None:
    with pytest.raises(UsageError, match="--ray: expected the address of a Ray cluster such as") as caught:
        require_cluster(address)
    assert f"got '{address}' (" in str(caught.value)


@pytest.mark.parametrize("address", ["nowhere.invalid:1", f"{'a' * 64}:1"])
def test_hosts_that_do_not_exist(address: str) -> None:
    with pytest.raises(UsageError, match=f"got '{address}'"):
        require_cluster(address)
