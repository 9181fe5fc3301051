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


def handshake(path: bytes = b"/v1/stream", *lines: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    """A request to open a WebSocket."""
    lines = (
        *(b"%s %s HTTP/%s" % (method, path, version), b"Host: x", b"Upgrade: websocket", b"Connection: Upgrade"),
        *(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"Sec-WebSocket-Version: 13", *lines),
    )
    return b"\r\n".join((*lines, b"", b""))


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (handshake(b"/v1/stream", b"Content-Length: 1") + b"x", b"426"),
        (handshake(b"/v1/stream", b"Transfer-Encoding: chunked") + b"0\r\n\r\n", b"426"),
        (handshake(b"/v1/stream", *[b"X: 1"] * 200), b"426"),
        (handshake(b"/v1/stream", b"Cookie: " + b"x" * 9000), b"426"),
        (handshake(b"/v1/stream", b"X: \x1b[31m"), b"426"),
        (handshake(version=b"1.0"), b"426"),
        (handshake().replace(b"13", b"7"), b"426"),
        (handshake(method=b"POST"), b"405"),
        (handshake(b"/v1/predict", b"Content-Length: 1") + b"x", b"405"),
    ],
)
def test_what_is_no_handshake_gets_a_response(content: bytes, status: bytes, port: int) -> None:
    connection = open_socket(port, content)
    assert connection.recv(12)[9:] == status
    connection.close()


def test_refused_websockets_do_not_keep_out_others(port: int) -> None:
    refused = [open_socket(port, handshake(b"/v1/nope")) for _ in range(LIMITS.max_connections)]
    for connection in refused:
        assert connection.recv(12) == b"HTTP/1.1 404"
    connection = open_socket(port, HEALTH)
    assert connection.recv(12) == b"HTTP/1.1 200"
    for client in (*refused, connection):
        client.close()


def fill(connection: socket.socket, content: bytes, limit: int) -> int:
    """Send until the server reads no more, or `limit` bytes; the number of bytes."""
    connection.settimeout(0.5)
    sent = 0
    with suppress(OSError):
        while sent < limit:
            sent += connection.send(content)
    return sent


def unread_socket(port: int) -> socket.socket:
    """A connection whose client takes few bytes."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(20)
    connection.connect(("127.0.0.1", port))
    return connection


@pytest.mark.parametrize("kind", ["pings", "requests"])
def test_a_client_that_takes_nothing_is_not_read_and_then_cut_off(kind: str, running: tuple[Server, int]) -> None:
    server, port = running
    admission = server.config.app.state.service.admission  # type: ignore[union-attr]
    with unread_socket(port) as connection:
        if kind == "pings":
            connection.sendall(handshake())
            assert connection.recv(12) == b"HTTP/1.1 101"
            content = struct.pack(">BB4s", 0x89, 0x80 | 125, bytes(4)) + bytes(125)
        else:
            content = b"GET /app.js HTTP/1.1\r\nHost: x\r\n\r\n"
        assert fill(connection, content * 1000, 60_000_000) < 60_000_000
        deadline = time.monotonic() + 20
        while admission.connections and time.monotonic() < deadline:
            time.sleep(0.05)
        assert admission.connections == 0


@pytest.mark.parametrize(
    ("start", "rest"),
    [
        (b"POST /v1/predict", b""),
        (b"GET /healthz", b""),
        (b"POST /v1/predict?x=1", b"5\r\nabcde\r\n"),
        (b"GET", b""),
        (b"\x16\x03\x01", b""),
    ],
)
def test_what_is_no_http_is_400_and_not_logged(
    start: bytes, rest: bytes, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    head, wrong = start + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"no length\r\n"
    connection = open_socket(port, head + (rest or wrong))
    if rest:  # the response comes before the wrong bytes
        assert connection.recv(12) == b"HTTP/1.1 400"
        connection.sendall(wrong)
    content = read_all(connection)
    assert rest or content.endswith(b'{"error": "expected a request of HTTP/1.1"}')
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_long_headers_are_431(port: int) -> None:
    content = read_all(open_socket(port, HEALTH[:-2] + b"X: 1\r\n" * 20_000))
    assert content.startswith(b"HTTP/1.1 431 ")
    assert content.endswith(b'{"error": "expected headers of at most 32768 bytes"}')
    connection = open_socket(port, HEALTH[:-2] + b"Cookie: " + b"x" * 30_000 + b"\r\n\r\n")
    assert connection.recv(12) == b"HTTP/1.1 200"
    connection.close()


def test_text_messages_are_bytes(port: int, caplog: pytest.LogCaptureFixture) -> None:
    with connect(f"ws://127.0.0.1:{port}/v1/stream") as stream:
        stream.send(base64.b64encode(encode_random_image()).decode())
        assert "detections" in json.loads(stream.recv(20))
        stream.send(b"\xff\xfe", text=True)
        assert json.loads(stream.recv(20))["status"] == 415
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_an_invalid_query_closes_a_websocket_with_its_reason(port: int) -> None:
    with (
        connect(f"ws://127.0.0.1:{port}/v1/stream?{'%C3%A9' * 90}=1") as stream,
        pytest.raises(ConnectionClosed) as end,
    ):
        stream.recv(20)
    assert end.value.rcvd is not None
    assert (end.value.rcvd.code, end.value.rcvd.reason) == (4400, "é" * 61)


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
