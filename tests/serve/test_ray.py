"""The Ray Serve application on a real local cluster: predictions, errors, scaling and batches."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx2
import pytest

from blitznet.api import load
from blitznet.core.errors import UsageError
from support.cli_datasets import write_model
from support.images import encode_random_image

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # Ray's own warnings
ray = pytest.importorskip("ray")
pytest.importorskip("grpc_reflection", reason="a part of the extra ray")
TIMEOUT = 120.0
"""seconds for a replica to start"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write_model(str(tmp_path_factory.mktemp("model") / "small.onnx")))


@pytest.fixture(scope="module")
def address(model: Path) -> Iterator[str]:
    """The address of the application on a cluster of this process."""
    from ray import serve

    from blitznet.serve.ray import app

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    ray.init(num_cpus=2, include_dashboard=False, configure_logging=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        arguments = {"model": str(model), "engine": "onnxruntime", "max_replicas": "2", "target_requests": "1"}
        serve.run(app(arguments), name="blitznet")
        yield f"http://127.0.0.1:{port}"
    finally:
        serve.shutdown()
        ray.shutdown()


def num_replicas() -> int:
    from ray import serve

    (deployment,) = serve.status().applications["blitznet"].deployments.values()
    return int(sum(deployment.replica_states.values()))


def test_predictions_are_those_of_the_predictor(address: str, model: Path) -> None:
    content = encode_random_image()
    response = httpx2.post(f"{address}/v1/predict?min_score=0.1&class_map=1", content=content, timeout=TIMEOUT)
    assert response.status_code == 200
    expected = load(model, engine="onnxruntime", threads=1)(content, min_score=0.1)
    payload: dict[str, Any] = response.json()
    assert [detection["class_name"] for detection in payload["detections"]] == [item.class_name for item in expected]
    assert [detection["score"] for detection in payload["detections"]] == pytest.approx(
        expected.scores.tolist(), abs=1e-4
    )
    assert (payload["width"], payload["height"]) == (expected.size[1], expected.size[0])


def test_the_other_routes_and_the_limits_are_there(address: str) -> None:
    assert httpx2.get(f"{address}/readyz", timeout=TIMEOUT).json() == {"status": "ready"}
    assert httpx2.get(f"{address}/v2/health/ready", timeout=TIMEOUT).status_code == 200
    assert "blitznet_images_total" in httpx2.get(f"{address}/metrics", timeout=TIMEOUT).text
    assert httpx2.post(f"{address}/v1/predict", content=b"text", timeout=TIMEOUT).status_code == 415
    assert httpx2.post(f"{address}/v1/predict?min_score=2", content=b"", timeout=TIMEOUT).status_code == 400
    assert httpx2.get(f"{address}/nope", timeout=TIMEOUT).status_code == 404


def test_load_starts_a_second_replica(address: str) -> None:
    content, most, deadline = encode_random_image(), num_replicas(), monotonic() + TIMEOUT
    with ThreadPoolExecutor(16) as pool:
        while most < 2 and monotonic() < deadline:
            requests = [
                pool.submit(httpx2.post, f"{address}/v1/predict", content=content, timeout=TIMEOUT) for _ in range(64)
            ]
            assert {request.result().status_code for request in requests} <= {200, 429, 503}
            most = max(most, num_replicas())
            sleep(0.1)
    assert most == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"models": "a"}, "models: unknown argument; expected model, engine, cpus, batch"),
        ({"cpus": "two"}, "arguments: expected whole numbers"),
        ({"cpus": "0"}, "cpus: expected 1 or more, got 0"),
        ({"min_replicas": "5"}, r"min_replicas: expected 0 to max_replicas \(4\), got 5"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, str], message: str) -> None:
    from blitznet.serve.ray import app

    with pytest.raises(UsageError, match=message):
        app(arguments)


def test_an_empty_token_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from blitznet.serve.ray import app

    monkeypatch.setenv("BLITZNET_TOKEN", "")
    with pytest.raises(UsageError, match="BLITZNET_TOKEN: expected a token"):
        app({})
