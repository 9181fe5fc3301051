"""Servers in a thread, on a free port of this machine."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.testclient import TestClient

from blitznet.runtime.predictor import BasePredictor
from blitznet.serve.app import make_app
from blitznet.serve.limits import ServeLimits
from blitznet.serve.server import Server, make_server


def wait_until_ready(client: TestClient) -> None:
    """Wait until the network is warm."""
    while client.get("/readyz").status_code != 200:
        time.sleep(0.01)


@contextmanager
def run_server(
    predictor: BasePredictor, limits: ServeLimits | None = None, **options: Any
) -> Iterator[tuple[Server, int]]:
    """A server and its port; it is shut down at the end."""
    limits = limits or ServeLimits()
    app = make_app(predictor, limits=limits, **options)
    server = make_server(app, limits)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield server, listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(60)
        assert not thread.is_alive()
