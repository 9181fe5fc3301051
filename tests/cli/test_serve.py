import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import connect

from blitznet.cli.main import main
from support.cli_datasets import write_model
from support.images import encode_random_image

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model."""
    monkeypatch.chdir(tmp_path)
    write_model()
    return tmp_path


@contextmanager
def run_server(*flags: str, host: str = "127.0.0.1") -> Iterator[str]:
    """The address of a server in a process of its own, which a signal ends."""
    words = ["serve", "--model", "small.onnx", "--engine", "onnxruntime", "--port", "0", *flags]
    with subprocess.Popen([sys.executable, "-m", "blitznet", *words], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith(f"serving small at http://{host}:")
            yield line.split()[3]
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) in (0, -signal.SIGTERM)


def test_serve_predicts_until_a_signal() -> None:
    with (
        run_server() as address,
        urllib.request.urlopen(f"{address}/v1/predict", data=encode_random_image(), timeout=20) as response,
    ):
        assert b'"detections"' in response.read()


def test_max_body_bytes_applies_to_websocket_messages() -> None:
    with (
        run_server("--max-body-bytes", "18000000") as address,
        connect(address.replace("http", "ws") + "/v1/stream") as websocket,
    ):
        for size, status in ((18_000_000, 415), (18_000_001, 413)):
            websocket.send(bytes(size))
            assert json.loads(websocket.recv(20))["status"] == status


def test_a_short_queue_shortens_batch_requests() -> None:
    with (
        run_server("--max-queue", "4") as address,
        urllib.request.urlopen(f"{address}/v1/model", timeout=20) as response,
    ):
        limits = json.load(response)["limits"]
    assert (limits["max_queue"], limits["max_images"]) == (4, 4)


def test_a_port_in_use_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert main(["serve", "--model", "small.onnx", "--port", str(port)]) == 2
    assert f"127.0.0.1:{port}: cannot listen there (Address already in use)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--port", "70000"), "--port: expected 0 to 65535, got 70000"),
        (("--batch", "0"), "--batch: expected 1 or more, got 0"),
        (("--max-queue", "0"), "max_queue: expected more than 0, got 0"),
        (("--max-images", "65"), "max_images: expected at most max_queue (64), got 65"),
        (("--max-images", "0"), "max_images: expected more than 0, got 0"),
        (("--max-body-bytes", "-1"), "max_body_bytes: expected more than 0, got -1"),
        (("--max-pixels", "0"), "max_pixels: expected more than 0, got 0"),
        (("--timeout", "0"), "timeout: expected more than 0, got 0.0"),
        (("--token", ""), "--token: expected a token, got an empty text; leave it out to serve without one"),
        (("--token", "secret\n"), "--token: expected printable ASCII characters without spaces or line ends"),
        (("--host", ""), "--host: expected a text, got an empty one"),
        (("--allowed-hosts", ""), "--allowed-hosts: expected a text, got an empty one"),
        (("--cors", " "), "--cors: expected a text, got an empty one"),
        (
            ("--cors", "app.example.com"),
            "cors: expected an origin such as https://app.example.com, or *, got 'app.example.com'",
        ),
        (
            ("--allowed-hosts", "https://vision.example.com"),
            "allowed_hosts: expected a domain name without scheme and port, got 'https://vision.example.com'",
        ),
    ],
)
def test_a_usage_error_is_one_line(words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--model", "small.onnx", *words]) == 2
    assert capsys.readouterr() == ("", f"blitznet: error: {message}\n")


@pytest.mark.parametrize("token", ["", "secret\n", "s\u00e9cret"])
def test_an_invalid_token_of_the_environment_is_an_error(
    token: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BLITZNET_TOKEN", token)
    assert main(["serve", "--model", "small.onnx"]) == 2
    assert "BLITZNET_TOKEN: expected " in capsys.readouterr().err


def test_an_address_that_cannot_be_resolved_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert main(["serve", "--model", "small.onnx", "--host", "nosuch.example"]) == 2
    assert "--host: expected an address of this machine, got 'nosuch.example'" in capsys.readouterr().err


def test_an_ipv6_address_has_brackets() -> None:
    with (
        run_server("--host", "::1", host="[::1]") as address,
        urllib.request.urlopen(f"{address}/healthz", timeout=20) as response,
    ):
        assert response.status == 200
