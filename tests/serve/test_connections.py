import base64
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from io import BytesIO

import pytest
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from blitznet.core.arrays import RGBArray
from blitznet.core.outputs import NmsOutputs, Outputs
from blitznet.runtime.predictor import Predictor
from blitznet.serve.limits import ServeLimits
from blitznet.serve.server import Server
from support.fake_engines import FakeEngine, random_outputs
from support.images import encode_random_image
from support.servers import run_server

LIMITS = ServeLimits(
    timeout=1.5, max_connections=8, keep_alive=3.0, max_queue=4, max_body_bytes=300_000, max_pending_bytes=40_000_000
)
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


class GatedEngine(FakeEngine):
    """Waits for the gate."""

    def __init__(self) -> None:
        super().__init__(random_outputs(8))
        self.gate = threading.Event()
        self.gate.set()

    def run(self, images: RGBArray) -> Outputs | NmsOutputs:
        self.gate.wait(20)
        return self.outputs


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Server, int]]:
    with run_server(Predictor(GatedEngine()), LIMITS) as server:
        yield server


@pytest.fixture(scope="module")
def patient_port() -> Iterator[int]:
    """A server with the default limits."""
    with run_server(Predictor(GatedEngine())) as (_, port):
        yield port


@pytest.fixture
def port(running: tuple[Server, int]) -> int:
    return running[1]


def open_socket(port: int, content: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(content)
    return connection


def read_all(connection: socket.socket) -> bytes:
    """All that the server sends until it closes the connection."""
    content = b""
    try:
        while chunk := connection.recv(65536):
            content += chunk
    except ConnectionResetError:
        pass
    connection.close()
    return content


def post(size: int) -> bytes:
    return b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size


@pytest.mark.parametrize("content", [b"", b"GET / HT", HEALTH[:-2]], ids=["silent", "line", "headers"])
def test_a_request_that_does_not_arrive_is_408(content: bytes, port: int) -> None:
    response = read_all(open_socket(port, content))
    assert response.startswith(b"HTTP/1.1 408 ")
    assert b"the request did not arrive in time" in response


def test_a_body_that_does_not_arrive_is_408_and_closed(port: int) -> None:
    assert read_all(open_socket(port, post(1000) + b"x")).startswith(b"HTTP/1.1 408 ")


def test_a_refused_body_that_never_ends_is_closed(port: int) -> None:
    connection = open_socket(port, post(10_000_000) + b"x")
    assert connection.recv(12) == b"HTTP/1.1 413"
    read_all(connection)  # ends although the body is not complete


@pytest.mark.parametrize("header", [b"", b"Connection: close\r\n"])
def test_a_client_that_sends_all_before_it_reads_gets_the_refusal(header: bytes, patient_port: int) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\n%sContent-Length: 40000000\r\n\r\n" % header
    with open_socket(patient_port, head) as connection:
        for _ in range(40):
            connection.sendall(bytes(1_000_000))
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_idle_connections_are_closed_for_new_ones(port: int) -> None:
    idle = [open_socket(port) for _ in range(20)]
    connection = open_socket(port, HEALTH)
    assert connection.recv(12) == b"HTTP/1.1 200"
    assert read_all(idle[0]) == b""
    for client in (*idle, connection):
        client.close()


def test_busy_connections_are_not_closed_for_new_ones() -> None:
    engine, image = GatedEngine(), encode_random_image()
    with run_server(Predictor(engine), ServeLimits(max_connections=8)) as (_, port), ExitStack() as stack:
        engine.gate.clear()
        for _ in range(4):
            stack.enter_context(connect(f"ws://127.0.0.1:{port}/v1/stream"))
        with pytest.raises(InvalidStatus, match="503"), connect(f"ws://127.0.0.1:{port}/v1/stream"):
            pass
        busy = [open_socket(port, post(len(image)) + image) for _ in range(4)]
        time.sleep(0.5)  # until the server has read them: before, they are idle
        refused = open_socket(port, HEALTH)
        content = read_all(refused)
        assert content.startswith(b"HTTP/1.1 503 ")
        assert b"too many connections are open" in content
        engine.gate.set()
        assert [connection.recv(12) for connection in busy] == [b"HTTP/1.1 200"] * 4
        for connection in busy:
            connection.close()


@pytest.mark.slow
def test_a_response_that_is_not_taken_is_cut_off() -> None:
    content = BytesIO()
    Image.new("L", (1600, 1600), 90).save(content, "PNG")
    data = [base64.b64encode(content.getvalue()).decode()]
    tensor = {"name": "image_bytes", "datatype": "BYTES", "shape": [1], "data": data}
    body = json.dumps({"inputs": [tensor], "outputs": [{"name": "class_map"}]}).encode()
    head = b"POST /v2/models/small/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    with run_server(Predictor(GatedEngine()), ServeLimits(timeout=10)) as (server, port), socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", port))
        connection.sendall(head + body)
        assert connection.recv(12) == b"HTTP/1.1 200"
        admission = server.config.app.state.service.admission  # type: ignore[union-attr]
        assert admission.response_bytes > 5_000_000
        deadline = time.monotonic() + 60
        while admission.response_bytes and time.monotonic() < deadline:
            time.sleep(0.05)
        assert admission.response_bytes == 0
        assert len(read_all(connection)) < 5_000_000


def test_a_body_in_tiny_chunks_is_cut_off(patient_port: int) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection = open_socket(patient_port, head)
    with suppress(ConnectionError):
        connection.sendall(b"1\r\nx\r\n" * 100_000)
    assert b"200" not in read_all(connection)[:20]


def test_a_body_in_usual_chunks_is_read(patient_port: int) -> None:
    image = encode_random_image(size=(100, 100))
    chunks = [image[start : start + 1000] for start in range(0, len(image), 1000)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    assert read_all(open_socket(patient_port, head + body)).startswith(b"HTTP/1.1 200 ")


def test_a_websocket_message_that_does_not_arrive_is_closed(port: int) -> None:
    handshake = (
        b"GET /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    connection = open_socket(port, handshake)
    assert connection.recv(12) == b"HTTP/1.1 101"
    connection.sendall(struct.pack(">BBQ4s", 0x82, 0xFF, 100_000, b"mask") + b"x")
    assert b"did not arrive in time" in read_all(connection)


def test_an_idle_websocket_is_closed(port: int) -> None:
    with connect(f"ws://127.0.0.1:{port}/v1/stream") as stream, pytest.raises(ConnectionClosed) as end:
        stream.recv(20)
    assert end.value.rcvd is not None
    assert (end.value.rcvd.code, end.value.rcvd.reason) == (1001, "no message within 3 s")


def test_shutdown_answers_what_it_has_and_closes() -> None:
    engine = GatedEngine()
    image = encode_random_image()
    with run_server(Predictor(engine)) as (server, port), connect(f"ws://127.0.0.1:{port}/v1/stream") as stream:
        engine.gate.clear()
        stream.send(image)
        connection = open_socket(port, post(len(image)) + image)
        time.sleep(0.5)  # until both are in the queue
        server.should_exit = True
        time.sleep(0.5)
        engine.gate.set()
        assert "detections" in json.loads(stream.recv(20))
        with pytest.raises(ConnectionClosed) as end:
            stream.recv(20)
        assert end.value.rcvd is not None
        assert end.value.rcvd.code == 1012
        response = read_all(connection)
    assert response.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in response.lower()
    assert "detections" in json.loads(response.partition(b"\r\n\r\n")[2])
