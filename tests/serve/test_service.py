import asyncio
import base64
import gc
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from blitznet.core.arrays import RGBArray
from blitznet.core.errors import DataError, UsageError
from blitznet.core.outputs import NmsOutputs, Outputs
from blitznet.runtime.predictor import BasePredictor, Predictor
from blitznet.serve.admission import BusyError
from blitznet.serve.app import make_app
from blitznet.serve.limits import ServeLimits
from blitznet.serve.service import PiecewiseResponse, Reply, client_address
from support.fake_engines import FakeEngine, random_outputs
from support.images import encode_random_image
from support.servers import wait_until_ready


def test_too_many_bytes_are_413(predictor: BasePredictor) -> None:
    with TestClient(make_app(predictor, limits=ServeLimits(max_body_bytes=5000))) as client:
        assert client.post("/v1/predict", content=b"x" * 5001).status_code == 413
        assert client.post("/v1/predict", content=iter([b"x" * 3000] * 2)).status_code == 413


def test_too_many_pixels_are_413(predictor: BasePredictor) -> None:
    with TestClient(make_app(predictor, limits=ServeLimits(max_pixels=2399))) as client:
        response = client.post("/v1/predict", content=encode_random_image())
        assert (response.status_code, response.json()["error"]) == (413, "expected at most 2,399 pixels, got 60x40")


def test_a_full_queue_is_429(predictor: BasePredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(predictor, limits=ServeLimits(max_images=1, max_queue=1))

    def refuse(*_: object) -> None:
        raise BusyError("the queue is full: 1 images are waiting")

    with TestClient(app) as client:
        monkeypatch.setattr(app.state.service.pool, "submit", refuse)
        images = [base64.b64encode(encode_random_image()).decode()]
        for response in (
            client.post("/v1/predict", content=encode_random_image()),
            client.post("/v1/predict/batch", json={"images": images}),
        ):
            assert (response.status_code, response.headers["retry-after"]) == (429, "1")
            assert response.json()["error"] == "the queue is full: 1 images are waiting"


def test_a_late_result_and_a_closed_pool_are_503(predictor: BasePredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(predictor, limits=ServeLimits(timeout=0.2))
    pool = app.state.service.pool
    with TestClient(app) as client:
        monkeypatch.setattr(pool, "_process", lambda *_: None)
        response = client.post("/v1/predict", content=encode_random_image())
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert response.json()["error"] == "no result within 0.2 s"
        pool.close()
        response = client.post("/v1/predict", content=encode_random_image())
        assert response.json()["error"] == "the server is shutting down"
        assert client.get("/readyz").status_code == 503
        assert client.get("/v2/health/ready").status_code == 503
        assert client.get("/healthz").status_code == 200
        pool._workers.clear()


def test_a_stalled_request_is_408(predictor: BasePredictor) -> None:
    app = make_app(predictor, limits=ServeLimits(timeout=0.1))
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/predict",
        "query_string": b"",
        "headers": [],
        "root_path": "",
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(5)
        return {}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 408
    app.state.service.close()


def test_protected_routes_require_the_token(predictor: BasePredictor) -> None:
    with TestClient(make_app(predictor, token="secret")) as client:
        for authorization in (b"", b"secret", b"Bearer wrong", "Bearer sécret".encode()):
            response = client.post(
                "/v1/predict", content=encode_random_image(), headers={b"authorization": authorization}
            )
            assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
        headers = {"authorization": "bearer secret"}
        assert client.post("/v1/predict", content=encode_random_image(), headers=headers).status_code == 200
        assert client.get("/v1/model").status_code == 401
        assert client.get("/healthz").status_code == client.get("/").status_code == 200
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/stream"):
            pass
        with client.websocket_connect("/v1/stream?token=secret") as socket:
            socket.send_bytes(encode_random_image())
            assert "detections" in socket.receive_json()
        assert client.get("/openapi.json").json()["security"] == [{"token": []}]


@pytest.mark.parametrize("token", ["", " ", "secret\n", "sécret", "two words", "\udc80"])
def test_a_token_that_no_client_can_send_is_an_error(token: str, predictor: BasePredictor) -> None:
    with pytest.raises(UsageError, match="token: expected"):
        make_app(predictor, token=token)


def make_client(engine: FakeEngine, **limits: Any) -> TestClient:
    return TestClient(make_app(Predictor(engine), limits=ServeLimits(**limits)))


class CountingEngine(FakeEngine):
    """Waits for the test, and counts the images it has run."""

    def __init__(self) -> None:
        super().__init__(random_outputs(8))
        self.gate = threading.Event()
        self.gate.set()
        self.count = 0

    def run(self, images: RGBArray) -> Outputs | NmsOutputs:
        self.gate.wait(20)
        self.count += len(images)
        return self.outputs


def test_a_refused_batch_is_not_computed() -> None:
    engine = CountingEngine()
    with make_client(engine, max_queue=16) as client:
        wait_until_ready(client)
        warm_up, body = engine.count, {"images": [base64.b64encode(encode_random_image()).decode()] * 16}
        engine.gate.clear()
        with ThreadPoolExecutor(4) as threads:
            answers = [threads.submit(client.post, "/v1/predict/batch", json=body) for _ in range(4)]
            while sum(answer.done() for answer in answers) < 2:
                time.sleep(0.01)
            engine.gate.set()
        statuses = [answer.result().status_code for answer in answers]
        metrics = client.get("/metrics").text
    assert set(statuses) == {200, 429}
    assert engine.count - warm_up == 16 * statuses.count(200)
    for name in ("blitznet_network_images_total", "blitznet_images_total"):
        assert f"{name} {16.0 * statuses.count(200)}" in metrics


def test_a_request_whose_deadline_passes_leaves_the_queue(caplog: pytest.LogCaptureFixture) -> None:
    engine = CountingEngine()
    with make_client(engine, timeout=1.0) as client:
        wait_until_ready(client)
        warm_up = engine.count
        engine.gate.clear()
        with ThreadPoolExecutor(8) as threads:
            answers = [threads.submit(client.post, "/v1/predict", content=encode_random_image()) for _ in range(8)]
            assert {answer.result().status_code for answer in answers} == {503}
        engine.gate.set()
    assert engine.count - warm_up <= 4
    gc.collect()
    assert [record for record in caplog.records if record.name == "asyncio"] == []


def test_an_error_of_the_engine_has_no_internal_words(caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine(random_outputs(1))
    with make_client(engine) as client:
        engine.outputs = None  # type: ignore[assignment]
        response = client.post("/v1/predict", content=encode_random_image())
        assert (response.status_code, response.json()) == (500, {"error": "internal error; see the server's log"})
        with client.websocket_connect("/v1/stream") as socket:
            for _ in range(2):
                socket.send_bytes(encode_random_image())
                assert socket.receive_json() == {"error": "internal error; see the server's log", "status": 500}
    assert any(record.getMessage().startswith("POST /v1/predict from ") for record in caplog.records)


def count_errors() -> int:
    # A list would keep them. isinstance reads `__class__` of each object; some of torch's warn.
    return sum(issubclass(type(value), (HTTPException, DataError)) for value in gc.get_objects())


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/v1/predict", b"text", 415),
        ("/v1/predict", b'{"image": "?"}', 400),
        ("/v1/predict", encode_random_image()[:-200], 415),
        ("/v1/predict", encode_random_image(size=(2, 2000)), 413),
        ("/v1/predict/batch", b"{", 400),
        ("/v2/models/small/infer", b"{", 400),
    ],
)
def test_nothing_of_a_refused_request_stays_in_memory(path: str, content: bytes, status: int) -> None:
    with make_client(FakeEngine(random_outputs(4)), max_pixels=3000) as client:
        wait_until_ready(client)
        gc.collect()
        before = count_errors()
        gc.disable()
        try:
            assert client.post(path, content=content).status_code == status
            deadline = time.monotonic() + 10  # the thread that parsed it may hold it for a moment
            while (after := count_errors()) > before and time.monotonic() < deadline:
                time.sleep(0.01)
        finally:
            gc.enable()
    assert after == before  # their frames would hold the body until the next collection


def test_the_access_log_has_no_query(predictor: BasePredictor, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "blitznet.serve.access")
    with TestClient(make_app(predictor, token="secret")) as client:
        client.post("/v1/predict?token=secret", content=b"x")
    (line,) = [record.getMessage() for record in caplog.records if record.name == "blitznet.serve.access"]
    assert "POST '/v1/predict' 401 " in line
    assert "secret" not in line


def test_an_address_from_a_proxy_cannot_change_the_terminal() -> None:
    assert client_address({"client": ("\x1b[31m\n", 0)}) == r"\x1b[31m\n:0"


def test_a_client_that_takes_no_response_is_cut_off() -> None:
    aborted: list[bool] = []
    pieces: list[int] = []

    async def send(message: Any) -> None:
        pieces.append(len(message.get("body", b"")))
        if len(pieces) == 3:
            await asyncio.sleep(20)

    async def run() -> None:
        scope = {"type": "http", "state": {"abort": lambda: aborted.append(True)}}
        response = PiecewiseResponse(Reply(bytes(1_000_001), "text/plain", start=1), timeout=0.1)
        assert response.headers["content-length"] == "1000000"
        await response(scope, None, send)  # type: ignore[arg-type]

    with pytest.raises(ClientDisconnect):
        asyncio.run(run())
    assert aborted == [True]
    assert pieces == [0, 1 << 18, 1 << 18]


@pytest.mark.skipif(
    sys.platform != "linux",
    reason="setpriority(2) sets the priority of a thread on Linux only, elsewhere that of the process",
)
def test_parsers_have_a_lower_priority_than_the_event_loop(predictor: BasePredictor) -> None:
    service = make_app(predictor).state.service

    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    assert service.parsers.submit(priority).result() > priority()
    service.close()
