import asyncio
import base64
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from blitznet.runtime.predictor import BasePredictor
from blitznet.serve.app import make_app
from blitznet.serve.limits import ServeLimits
from blitznet.serve.pool import BusyError
from support.images import encode_random_image


def test_too_many_bytes_are_413(predictor: BasePredictor) -> None:
    with TestClient(make_app(predictor, limits=ServeLimits(max_body_bytes=5000))) as client:
        assert client.post("/v1/predict", content=b"x" * 5001).status_code == 413
        assert client.post("/v1/predict", content=iter([b"x" * 3000] * 2)).status_code == 413


def test_too_many_pixels_are_413(predictor: BasePredictor) -> None:
    with TestClient(make_app(predictor, limits=ServeLimits(max_pixels=2399))) as client:
        response = client.post("/v1/predict", content=encode_random_image())
        assert (response.status_code, response.json()["error"]) == (413, "expected at most 2,399 pixels, got 60x40")


def test_a_full_queue_is_429(predictor: BasePredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(predictor, limits=ServeLimits(max_images=1, max_queue=1, timeout=0.2))

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
    app.state.service.pool.close()


def test_protected_routes_require_the_token(predictor: BasePredictor) -> None:
    with TestClient(make_app(predictor, token="secret")) as client:
        for authorization in (b"", b"Bearer wrong", "Bearer sécret".encode()):
            response = client.post(
                "/v1/predict", content=encode_random_image(), headers={b"authorization": authorization}
            )
            assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
        headers = {"authorization": "Bearer secret"}
        assert client.post("/v1/predict", content=encode_random_image(), headers=headers).status_code == 200
        assert client.get("/v1/model").status_code == 401
        assert client.get("/healthz").status_code == client.get("/").status_code == 200
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/stream"):
            pass
        with client.websocket_connect("/v1/stream?token=secret") as socket:
            socket.send_bytes(encode_random_image())
            assert "detections" in socket.receive_json()
        assert client.get("/openapi.json").json()["security"] == [{"token": []}]
