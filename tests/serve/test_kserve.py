import asyncio
import base64
import time
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from blitznet.core.spec import Task
from blitznet.runtime.predictor import BasePredictor, Predictor
from blitznet.serve.app import make_app
from support.fake_engines import SPEC, FakeEngine, random_outputs
from support.images import encode_random_image

INFER = "/v2/models/small/infer"


def test_infer_returns_the_predictors_arrays(client: TestClient, predictor: BasePredictor) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (20, 30, 3), np.uint8)
    expected = predictor(pixels, min_score=0.3)
    assert len(expected)
    assert expected.class_map is not None
    arrays: dict[str, Any] = {name: getattr(expected, name) for name in ("boxes", "scores", "labels", "class_map")}
    flat = {"name": "image", "shape": [20, 30, 3], "datatype": "UINT8", "data": pixels.ravel().tolist()}
    nested = {**flat, "data": pixels.tolist()}
    content = BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    image_file = base64.b64encode(content.getvalue()).decode()
    encoded = {"name": "image_bytes", "shape": [1], "datatype": "BYTES", "data": [image_file]}
    for tensor in (flat, nested, encoded):
        body = {"id": "7", "inputs": [tensor], "parameters": {"min_score": 0.3}}
        response = client.post(INFER, json=body).json()
        assert (response["id"], response["model_name"]) == ("7", "small")
        assert [output["name"] for output in response["outputs"]] == list(arrays)
        for output in response["outputs"]:
            array = arrays[output["name"]]
            assert output["shape"] == list(array.shape)
            np.testing.assert_array_equal(np.array(output["data"], array.dtype).reshape(array.shape), array)
    selected = client.post(INFER, json={"inputs": [flat], "outputs": [{"name": "scores"}]}).json()
    assert [output["name"] for output in selected["outputs"]] == ["scores"]


def test_metadata_and_health(client: TestClient) -> None:
    assert client.get("/v2/models/small").json()["inputs"][0]["name"] == "image"
    assert client.get("/v2/models/small/ready").json() == {"ready": True}
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2").json()["name"] == "blitznet"


@pytest.mark.parametrize(
    ("tasks", "names", "absent"),
    [
        (("detection",), ["boxes", "scores", "labels"], "class_map"),
        (("segmentation",), ["class_map"], "scores"),
        (("detection", "segmentation"), ["boxes", "scores", "labels", "class_map"], "masks"),
    ],
)
def test_outputs_are_those_of_the_models_tasks(tasks: tuple[Task, ...], names: list[str], absent: str) -> None:
    outputs = random_outputs()
    if "detection" not in tasks:
        outputs = replace(outputs, offsets=None, logits=None)
    if "segmentation" not in tasks:
        outputs = replace(outputs, segmentation_logits=None)
    engine = FakeEngine(outputs, replace(SPEC, tasks=tasks))
    image = base64.b64encode(encode_random_image()).decode()
    body: dict[str, Any] = {"inputs": [{"name": "image_bytes", "data": [image]}]}
    with TestClient(make_app(Predictor(engine))) as client:
        for path in ("/v2/models/small", "/v2/models/small/versions/1"):
            assert [output["name"] for output in client.get(path).json()["outputs"]] == names
            assert client.get(f"{path}/ready").json() == {"ready": True}
            response = client.post(f"{path}/infer", json=body).json()
            assert [output["name"] for output in response["outputs"]] == names
            refused = client.post(f"{path}/infer", json={**body, "outputs": [{"name": absent}]})
            assert (refused.status_code, refused.json()["error"]) == (
                400,
                f"outputs: expected names from {', '.join(names)}, got {absent}",
            )
            operation = client.get("/openapi.json").json()["paths"][f"{path}/infer"]["post"]
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            assert schema["properties"]["outputs"]["items"]["properties"]["name"]["enum"] == names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 100_000, "expected a request of the inference protocol, got something else"),
        (b"{}", "expected a request of the inference protocol, got something else"),
        (b'{"inputs": [], "id": [1]}', "id: expected a string, got list"),
        (b'{"inputs": []}', "expected an input image"),
        (b'{"inputs": [], "parameters": {"min_score": 2}}', "expected an input image"),
        (
            b'{"inputs": [{"name": "image", "shape": [%d, 1, 3], "data": [1, 2, 3]}]}' % 10**30,
            "expected an input image",
        ),
        (b'{"inputs": [{"name": "image", "shape": [1, 1, 3], "data": [0, 256, 0]}]}', "integers 0 to 255"),
        (
            b'{"inputs": [{"name": "image", "shape": [1, 1, 3], "data": [0, 1, 0]}], "parameters": {"min_score": 2}}',
            "min_score: expected 0 to 1, got '2'",
        ),
        (
            b'{"inputs": [], "outputs": [{"name": "x"}]}',
            "outputs: expected names from boxes, scores, labels, class_map, got x",
        ),
        (
            b'{"inputs": [], "outputs": [{"name": [1]}]}',
            "outputs: expected names from boxes, scores, labels, class_map, got [1]",
        ),
    ],
)
def test_an_invalid_request_is_400(content: bytes, message: str, client: TestClient) -> None:
    response = client.post(INFER, content=content)
    assert response.status_code == 400
    assert message in response.json()["error"]


def test_the_event_loop_runs_while_a_long_request_is_parsed(predictor: BasePredictor) -> None:
    app = make_app(predictor)
    numbers = b"7," * 4_000_000 + b"7,256"  # invalid, which is known once all of it is parsed
    content = b'{"inputs": [{"name": "image", "shape": [1333334, 1, 3], "data": [%s]}]}' % numbers
    scope = {"type": "http", "method": "POST", "path": INFER, "query_string": b"", "headers": [], "root_path": ""}
    sent: list[Any] = []
    delays: list[float] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content}

    async def send(message: Any) -> None:
        sent.append(message)

    async def measure_delays() -> None:
        while not sent:
            start = time.perf_counter()
            await asyncio.sleep(0)
            delays.append(time.perf_counter() - start)

    async def run_both() -> None:
        await asyncio.gather(measure_delays(), app(scope, receive, send))

    asyncio.run(run_both())
    app.state.service.pool.close()
    assert sent[0]["status"] == 400
    assert b"integers 0 to 255" in sent[1]["body"]
    assert max(delays) < sum(delays) / 4
