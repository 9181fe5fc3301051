import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse

from blitznet.runtime.predictor import Predictor
from blitznet.serve.app import make_app
from support.fake_engines import FakeEngine, random_outputs


def make_client(**options: object) -> TestClient:
    app = make_app(Predictor(FakeEngine(random_outputs(4))), **options)  # type: ignore[arg-type]
    return TestClient(app)


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"host": "127.0.0.1:8000"}, True),
        ({"host": "[::1]:8000"}, True),
        ({"host": "localhost:8000"}, True),
        ({"host": "app.localhost"}, True),
        ({"host": "vision.example.com"}, True),
        ({"host": "VISION.example.com.:80"}, True),
        ({"host": "evil.example"}, False),
        ({"host": "127.0.0.1.evil.example:8000"}, False),
        ({"host": "[evil.example"}, False),
        ({"host": "localhost:8000", "origin": "http://localhost:8000"}, True),
        ({"host": "localhost:8000", "origin": "http://localhost:9000"}, False),
        ({"host": "localhost:8000", "origin": "http://evil.example"}, False),
        ({"host": "localhost:8000", "origin": "null"}, False),
        ({"host": "127.0.0.1:8000", "origin": "https://site.example", "x-forwarded-host": "site.example"}, True),
        ({"host": "127.0.0.1:8000", "origin": "https://site.example", "sec-fetch-site": "same-origin"}, True),
        ({"host": "127.0.0.1:8000", "origin": "https://site.example", "sec-fetch-site": "cross-site"}, False),
        ({"host": "127.0.0.1:8000", "origin": "https://friend.example"}, True),
    ],
)
def test_foreign_hosts_and_origins_are_403(headers: dict[str, str], allowed: bool) -> None:
    with make_client(hosts=["vision.example.com"], origins=["https://friend.example"]) as client:
        response = client.get("/healthz", headers=headers)
        assert (response.status_code == 200) == allowed
        if allowed:
            with client.websocket_connect("/v1/stream", headers=headers):
                pass
        else:
            assert response.json()["error"].startswith(("Host: ", "Origin: "))
            with (
                pytest.raises(WebSocketDenialResponse) as refused,
                client.websocket_connect("/v1/stream", headers=headers),
            ):
                pass
            assert refused.value.status_code == 403


def test_cors_answers_pages_of_allowed_sites_only() -> None:
    preflight = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    with make_client(origins=["https://friend.example"]) as client:
        response = client.options("/v1/predict", headers={**preflight, "origin": "https://friend.example"})
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "https://friend.example"
        response = client.options("/v1/predict", headers={**preflight, "origin": "https://evil.example"})
        assert response.status_code == 403
        assert "access-control-allow-origin" not in response.headers
    with make_client(origins=["*"]) as client:
        response = client.get("/v1/model", headers={"origin": "https://evil.example"})
        assert response.headers["access-control-allow-origin"] == "*"
