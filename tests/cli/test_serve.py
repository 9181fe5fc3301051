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
from serve.test_app import picture
from support.cli_datasets import write_model


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model."""
    monkeypatch.chdir(tmp_path)
    write_model()
    return tmp_path


@contextmanager
def serving(*more: str) -> Iterator[str]:
    """The address of a server of its own, which ends when it is told to."""
    words = ["serve", "--model", "small.onnx", "--engine", "onnxruntime", "--port", "0", *more]
    with subprocess.Popen([sys.executable, "-m", "blitznet", *words], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("serving small at http://127.0.0.1:")
            yield line.split()[3]
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) in (0, -signal.SIGTERM)


def test_it_serves_until_it_is_told_to_end(place: Path) -> None:
    with (
        serving() as address,
        urllib.request.urlopen(f"{address}/v1/predict", data=picture(), timeout=20) as answer,
    ):
        assert b'"detections"' in answer.read()


def test_a_websockets_message_is_as_long_as_a_request_may_be(place: Path) -> None:
    with (
        serving("--max-body", "18000000") as address,
        connect(address.replace("http", "ws") + "/v1/stream") as line,
    ):
        for size, status in ((18_000_000, 415), (18_000_001, 413)):
            line.send(bytes(size))
            assert json.loads(line.recv(20))["status"] == status


def test_a_short_queue_alone_shortens_a_request_of_several(place: Path) -> None:
    with serving("--queue", "4") as address, urllib.request.urlopen(f"{address}/v1/model", timeout=20) as answer:
        limits = json.load(answer)["limits"]
    assert (limits["queue"], limits["images"]) == (4, 4)


def test_a_port_in_use(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--model", "small.onnx", "--port", str(port)]) == 2
    assert f"127.0.0.1:{port}: cannot listen there (Address already in use)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--port", "70000"), "--port: expected 0 to 65535, got 70000"),
        (("--batch", "0"), "--batch: expected 1 or more, got 0"),
        (("--queue", "0"), "limits: queue: expected more than 0, got 0"),
        (("--max-images", "65"), "limits: images: expected at most the 64 that may wait, got 65"),
        (("--max-images", "0"), "limits: images: expected more than 0, got 0"),
        (("--max-body", "-1"), "limits: body: expected more than 0, got -1"),
    ],
)
def test_misuse_is_one_line(words: tuple[str, ...], said: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--model", "small.onnx", *words]) == 2
    assert capsys.readouterr().err == f"blitznet: error: {said}\n"
