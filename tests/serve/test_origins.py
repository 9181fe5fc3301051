import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse

from blitznet.core.errors import UsageError
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
        ({"host": "127.0.0.1:8000", "origin": "https://other.example"}, True),
        ({"host": "127.0.0.1:8000", "origin": "https://friend.example:8443"}, False),
        ({"host": "127.0.0.1:8000", "origin": "http://["}, False),
        ({"host": "127.0.0.1:8000", "origin": "http://"}, False),
        ({"host": "[::1]:8000", "origin": "http://[::1]:8000"}, True),
        ({"host": "localhost:80", "origin": "http://localhost"}, True),
        ({"host": "vision.example.com:443", "origin": "https://vision.example.com"}, True),
        ({"host": "vision.example.com:443", "origin": "http://vision.example.com"}, False),
        ({"host": "127.0.0.1", "origin": "https://a.example", "x-forwarded-host": "a.example, b.example"}, True),
        ({"host": "127.0.0.1", "origin": "https://b.example", "x-forwarded-host": "a.example, b.example"}, False),
    ],
)
def test_foreign_hosts_and_origins_are_403(headers: dict[str, str], allowed: bool) -> None:
    origins = ["https://friend.example", "HTTPS://Other.example:443/"]
    with make_client(hosts=["Vision.example.com."], origins=origins) as client:
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


@pytest.mark.parametrize(
    "origin", ["app.example.com", "https://", "https://a.example/app", "https://[", "https://u@a.b", ""]
)
def test_an_origin_that_no_browser_sends_is_an_error(origin: str) -> None:
    with pytest.raises(UsageError, match="cors: expected an origin such as"):
        make_client(origins=[origin])


@pytest.mark.parametrize("host", ["https://vision.example.com", "vision.example.com:8000", "*", "a b", "[::1]", ""])
def test_a_host_that_no_header_has_is_an_error(host: str) -> None:
    with pytest.raises(UsageError, match="allowed_hosts: expected a domain name without scheme and port"):
        make_client(hosts=[host])


def test_refused_requests_are_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "blitznet.serve.access")
    with make_client(hosts=[]) as client:
        client.get("/healthz", headers={"host": "evil.example"})
        client.get(f"/{'x' * 1000}")
        client.put("/healthz")
        with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/v1/nope"):
            pass
        assert (refused.value.status_code, refused.value.json()) == (404, {"error": "Not Found"})
        metrics = client.get("/metrics").text
    for status, count in ((403, 1), (404, 2), (405, 1)):
        assert f'blitznet_requests_total{{path="other",status="{status}"}} {count}.0' in metrics
    lines = [record.getMessage() for record in caplog.records if record.name == "blitznet.serve.access"]
    assert [line.split()[-2] for line in lines] == ["403", "404", "405", "404", "200"]
    assert max(map(len, lines)) < 300


def test_cors_answers_pages_of_allowed_sites_only() -> None:
    preflight = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    with make_client(origins=["https://Friend.example:443/"]) as client:
        response = client.options("/v1/predict", headers={**preflight, "origin": "https://friend.example"})
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "https://friend.example"
        response = client.options("/v1/predict", headers={**preflight, "origin": "https://evil.example"})
        assert response.status_code == 403
        assert "access-control-allow-origin" not in response.headers
    with make_client(origins=["null"]) as client:
        response = client.get("/v1/model", headers={"origin": "null"})
        assert response.headers["access-control-allow-origin"] == "null"
    with make_client(origins=["*"]) as client:
        response = client.get("/v1/model", headers={"origin": "https://evil.example"})
        assert response.headers["access-control-allow-origin"] == "*"
