import asyncio
import base64
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from blitznet.api import load
from blitznet.core.errors import UsageError
from blitznet.core.image import ImageSource
from blitznet.core.spec import Task
from blitznet.runtime.predictor import Predictor
from blitznet.serve.app import make_app
from blitznet.serve.limits import ServeLimits
from blitznet.serve.pool import BusyError
from blitznet.serve.response import to_payload
from serve.test_response import unrolled
from support.cli_datasets import write_model
from support.fake_engines import SPEC, FakeEngine, random_outputs


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load(write_model(str(tmp_path_factory.mktemp("model") / "small.onnx")), engine="onnxruntime")


@pytest.fixture
def client(predictor: Predictor) -> Iterator[TestClient]:
    with TestClient(make_app(predictor)) as client:
        yield client


def limited(predictor: Predictor, token: str | None = None, **limits: Any) -> TestClient:
    return TestClient(make_app(predictor, limits=ServeLimits(**limits), token=token))


def picture(seed: int = 0, size: tuple[int, int] = (40, 60), kind: str = "PNG") -> bytes:
    content = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)).save(content, kind)
    return content.getvalue()


def test_json_is_what_the_predictor_says(client: TestClient, predictor: Predictor) -> None:
    content = picture()
    answer = client.post("/v1/predict?score=0.3&class_map=1&panoptic=1", content=content)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    expected = to_payload(predictor(content, min_score=0.3), pixels=True, instances=True)
    assert expected["detections"]
    assert answer.json() == expected
    plain = client.post("/v1/predict", content=content).json()
    assert plain["detections"] == predictor(content, min_score=0.5).to_dict()["detections"]
    assert "class_map" not in plain


@pytest.mark.parametrize(
    ("accept", "mode"), [("image/png", "RGB"), ("image/png;content=mask", "P"), ("image/*", "RGB")]
)
def test_pictures_by_accept(accept: str, mode: str, client: TestClient, predictor: Predictor) -> None:
    content = picture()
    answer = client.post("/v1/predict", content=content, headers={"accept": accept})
    assert answer.headers["content-type"] == "image/png"
    shown = Image.open(BytesIO(answer.content))
    assert (shown.mode, shown.size) == (mode, (60, 40))
    if mode == "P":
        np.testing.assert_array_equal(np.asarray(shown), predictor(content).class_map)


def test_several_at_once(client: TestClient, predictor: Predictor) -> None:
    contents = [picture(seed, (30 + seed, 50)) for seed in range(5)]
    images = [base64.b64encode(content).decode() for content in contents]
    results = client.post("/v1/predict/batch?score=0.3", json={"images": images}).json()["results"]
    assert results == [to_payload(predictor(one, min_score=0.3), pixels=False, instances=False) for one in contents]


def test_of_several_one_that_is_no_image_is_said_in_its_place(client: TestClient, predictor: Predictor) -> None:
    images = [base64.b64encode(content).decode() for content in (picture(), b"no image", b"", picture())]
    answer = client.post("/v1/predict/batch?score=0.3", json={"images": images})
    first, second, third, last = answer.json()["results"]
    assert answer.status_code == 200
    assert first == last == to_payload(predictor(picture(), min_score=0.3), pixels=False, instances=False)
    assert second == {
        "error": "<image in memory>: not an image of a known format (JPEG, PNG, WEBP, BMP, TIFF, GIF, PPM)",
        "status": 415,
    }
    assert third == {"error": "expected an image's bytes, got nothing", "status": 400}


def test_as_many_images_in_one_request_as_may_wait(predictor: Predictor) -> None:
    with pytest.raises(UsageError, match="images: expected at most the 64 that may wait, got 65"):
        ServeLimits(images=65)
    with limited(predictor, images=20, queue=20) as client:
        images = [base64.b64encode(picture()).decode()] * 20
        assert client.post("/v1/predict/batch", json={"images": images}).status_code == 200


def test_kserve(client: TestClient, predictor: Predictor) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (20, 30, 3), np.uint8)
    expected = predictor(pixels, min_score=0.3)
    assert len(expected)
    assert expected.class_map is not None
    arrays: dict[str, Any] = {name: getattr(expected, name) for name in ("boxes", "scores", "labels", "class_map")}
    raw = {"name": "image", "shape": [20, 30, 3], "datatype": "UINT8", "data": pixels.ravel().tolist()}
    nested = {**raw, "data": pixels.tolist()}
    content = BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    file = {
        "name": "image_bytes",
        "shape": [1],
        "datatype": "BYTES",
        "data": [base64.b64encode(content.getvalue()).decode()],
    }
    for given in (raw, nested, file):
        question = {"id": "7", "inputs": [given], "parameters": {"score": 0.3}}
        answer = client.post("/v2/models/small/infer", json=question).json()
        assert (answer["id"], answer["model_name"]) == ("7", "small")
        assert [output["name"] for output in answer["outputs"]] == list(arrays)
        for output in answer["outputs"]:
            array = arrays[output["name"]]
            assert output["shape"] == list(array.shape)
            np.testing.assert_array_equal(np.array(output["data"], array.dtype).reshape(array.shape), array)
    some = client.post("/v2/models/small/infer", json={"inputs": [raw], "outputs": [{"name": "scores"}]}).json()
    assert [output["name"] for output in some["outputs"]] == ["scores"]
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
def test_kserve_tells_of_the_models_own_tasks(tasks: tuple[Task, ...], names: list[str], absent: str) -> None:
    outputs = random_outputs()
    if "detection" not in tasks:
        outputs = replace(outputs, offsets=None, logits=None)
    if "segmentation" not in tasks:
        outputs = replace(outputs, segmentation_logits=None)
    engine = FakeEngine(outputs, replace(SPEC, tasks=tasks))
    question: dict[str, Any] = {
        "inputs": [{"name": "image_bytes", "data": [base64.b64encode(picture()).decode()]}],
    }
    with TestClient(make_app(Predictor(engine))) as client:
        for address in ("/v2/models/small", "/v2/models/small/versions/1"):
            assert [output["name"] for output in client.get(address).json()["outputs"]] == names
            assert client.get(f"{address}/ready").json() == {"ready": True}
            answer = client.post(f"{address}/infer", json=question).json()
            assert [output["name"] for output in answer["outputs"]] == names
            refused = client.post(f"{address}/infer", json={**question, "outputs": [{"name": absent}]})
            assert (refused.status_code, refused.json()["error"]) == (400, f"outputs: there is no {absent}")
            described = client.get("/openapi.json").json()["paths"][f"{address}/infer"]["post"]
            known = described["requestBody"]["content"]["application/json"]["schema"]["properties"]["outputs"]
            assert known["items"]["properties"]["name"]["enum"] == names


def test_a_camera_by_websocket(client: TestClient, predictor: Predictor) -> None:
    with client.websocket_connect("/v1/stream?score=0.3&class_map=1") as line:
        for seed in range(3):
            line.send_bytes(picture(seed, kind="JPEG"))
            answer = line.receive_json()
            expected = predictor(picture(seed, kind="JPEG"), min_score=0.3)
            assert answer["detections"] == expected.to_dict()["detections"]
            assert expected.class_map is not None
            np.testing.assert_array_equal(unrolled(answer["class_map"], expected.size), expected.class_map)
        line.send_bytes(b"no image")
        assert line.receive_json()["status"] == 415
        line.send_bytes(picture())
        assert "detections" in line.receive_json()
        line.send_text("no bytes")
        with pytest.raises(WebSocketDisconnect) as end:
            line.receive_json()
    assert (end.value.code, end.value.reason) == (1003, "expected an image's bytes, got text")


@pytest.mark.parametrize(
    ("path", "content", "headers", "status", "message"),
    [
        ("/v1/predict", b"", {}, 400, "expected an image's bytes, got nothing"),
        ("/v1/predict", b"text", {}, 415, "not an image of a known format"),
        ("/v1/predict", picture()[:300], {}, 415, "cannot be decoded"),
        ("/v1/predict", picture(), {"accept": "text/html"}, 406, "expected Accept: application/json"),
        ("/v1/predict?score=2", picture(), {}, 400, "score: expected 0 to 1, got '2'"),
        ("/v1/predict?score=x", picture(), {}, 400, "score: expected 0 to 1, got 'x'"),
        ("/v1/predict?answer=x", picture(), {}, 400, "answer: expected json, overlay or mask, got 'x'"),
        ("/v1/predict?class_map=x", picture(), {}, 400, "class_map: expected 0 or 1, got 'x'"),
        ("/v1/predict/batch", b"[]", {}, 400, "expected {"),
        ("/v1/predict/batch", b'{"images": ["?"]}', {}, 400, "expected {"),
        ("/v1/predict/batch", b'{"images": []}', {}, 400, "expected 1 to 16 images, got 0"),
        (
            "/v1/predict/batch",
            b'{"images": [%s]}' % b", ".join([b'""'] * 17),
            {},
            413,
            "expected 1 to 16 images, got 17",
        ),
        ("/v1/predict/batch", b"", {"accept": "image/png"}, 406, "application/json alone"),
        ("/v1/predict/batch", b"[" * 100_000, {}, 400, "expected {"),
        ("/v2/models/small/infer", b"[" * 100_000, {}, 400, "not a request of the inference protocol"),
        ("/v2/models/small/infer", b'{"inputs": [], "id": [1]}', {}, 400, "id: expected text"),
        (
            "/v2/models/small/infer",
            b'{"inputs": [{"name": "image", "shape": [%d, 1, 3], "data": [1, 2, 3]}]}' % 10**30,
            {},
            400,
            "expected an input image",
        ),
        ("/v2/models/small/infer", b"{}", {}, 400, "not a request of the inference protocol"),
        ("/v2/models/small/infer", b'{"inputs": []}', {}, 400, "expected an input image"),
        (
            "/v2/models/small/infer",
            b'{"inputs": [{"name": "image", "shape": [1, 1, 3], "data": [0, 256, 0]}]}',
            {},
            400,
            "whole numbers 0 to 255",
        ),
        ("/v2/models/small/infer", b'{"inputs": [], "outputs": [{"name": "x"}]}', {}, 400, "outputs: there is no x"),
        ("/v2/models/small/infer", b'{"inputs": [], "outputs": [{"name": [1]}]}', {}, 400, "outputs: there is no [1]"),
    ],
)
def test_refusals(
    path: str, content: bytes, headers: dict[str, str], status: int, message: str, client: TestClient
) -> None:
    answer = client.post(path, content=content, headers=headers)
    assert answer.status_code == status
    assert message in answer.json()["error"]


def test_what_is_too_large(predictor: Predictor) -> None:
    with limited(predictor, body=5000) as client:
        assert client.post("/v1/predict", content=b"x" * 5001).status_code == 413
        assert client.post("/v1/predict", content=iter([b"x" * 3000] * 2)).status_code == 413
    with limited(predictor, pixels=2399) as client:
        answer = client.post("/v1/predict", content=picture())
        assert (answer.status_code, answer.json()["error"]) == (413, "expected at most 2,399 pixels, got 60x40")


def test_no_room(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(predictor, limits=ServeLimits(images=1, queue=1, seconds=0.2))
    pool = app.state.service.pool

    def full(*_: object) -> None:
        raise BusyError("1 images are waiting already")

    with TestClient(app) as client:
        monkeypatch.setattr(pool, "submit", full)
        images = [base64.b64encode(picture()).decode()]
        for answer in (
            client.post("/v1/predict", content=picture()),
            client.post("/v1/predict/batch", json={"images": images}),
        ):
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
            assert answer.json()["error"] == "1 images are waiting already"


def test_no_time(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(predictor, limits=ServeLimits(seconds=0.2))
    pool = app.state.service.pool
    with TestClient(app) as client:
        monkeypatch.setattr(pool, "_look", lambda *_: None)
        answer = client.post("/v1/predict", content=picture())
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["error"] == "not answered within 0.2 s"
        pool.close()
        assert client.post("/v1/predict", content=picture()).json()["error"] == "the server is going down"
        assert client.get("/readyz").status_code == 503
        assert client.get("/v2/health/ready").status_code == 503
        assert client.get("/healthz").status_code == 200
        pool._lanes.clear()


def test_others_are_heard_while_a_long_request_is_read(predictor: Predictor) -> None:
    app = make_app(predictor)
    numbers = b"7," * 4_000_000 + b"7,256"  # refused once all of it is read
    content = b'{"inputs": [{"name": "image", "shape": [1333334, 1, 3], "data": [%s]}]}' % numbers
    sent: list[Any] = []
    waits: list[float] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content}

    async def send(message: Any) -> None:
        sent.append(message)

    async def listen() -> None:
        while not sent:
            begun = time.perf_counter()
            await asyncio.sleep(0)
            waits.append(time.perf_counter() - begun)

    async def both() -> None:
        await asyncio.gather(listen(), app(_scope("/v2/models/small/infer"), receive, send))

    asyncio.run(both())
    app.state.service.pool.close()
    assert sent[0]["status"] == 400
    assert b"whole numbers 0 to 255" in sent[1]["body"]
    assert max(waits) < sum(waits) / 4


def test_a_client_that_does_not_go_on(predictor: Predictor) -> None:
    app = make_app(predictor, limits=ServeLimits(seconds=0.1))
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(5)
        return {}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(_scope("/v1/predict"), receive, send))
    assert sent[0]["status"] == 408
    app.state.service.pool.close()


def _scope(path: str) -> dict[str, Any]:
    return {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": [], "root_path": ""}


def test_a_token_keeps_others_out(predictor: Predictor) -> None:
    with limited(predictor, token="secret") as client:
        for given in (b"", b"Bearer wrong", "Bearer sécret".encode()):
            answer = client.post("/v1/predict", content=picture(), headers={b"authorization": given})
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        right = {"authorization": "Bearer secret"}
        assert client.post("/v1/predict", content=picture(), headers=right).status_code == 200
        assert client.get("/v1/model").status_code == 401
        assert client.get("/healthz").status_code == client.get("/").status_code == 200
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/stream"):
            pass
        with client.websocket_connect("/v1/stream?token=secret") as line:
            line.send_bytes(picture())
            assert "detections" in line.receive_json()
        assert client.get("/openapi.json").json()["security"] == [{"token": []}]


def test_counts(client: TestClient) -> None:
    client.post("/v1/predict", content=picture())
    client.post("/v1/predict", content=b"text")
    said = client.get("/metrics").text
    assert 'blitznet_requests_total{path="/v1/predict",status="200"} 1.0' in said
    assert 'blitznet_requests_total{path="/v1/predict",status="415"} 1.0' in said
    assert "blitznet_images_total 1.0" in said
    assert "blitznet_queue 0.0" in said
    assert 'blitznet_request_seconds_count{path="/v1/predict"} 2.0' in said


def test_the_model_and_the_description(client: TestClient) -> None:
    model = client.get("/v1/model").json()
    assert (model["name"], model["engine"], model["limits"]["queue"]) == ("small", "onnxruntime", 64)
    description = client.get("/openapi.json").json()
    assert description["openapi"].startswith("3.1")
    for path, methods in description["paths"].items():
        for method in methods:
            assert path == "/v1/stream" or client.request(method, path).status_code not in (404, 405)
    assert json.dumps(description).count("#/components/schemas/Result") == 2


def test_all_that_is_served_is_described(predictor: Predictor) -> None:
    """Each route, its method, and whether it wants the token."""
    app = make_app(predictor, token="secret")
    served = {}
    with TestClient(app) as client:
        described = client.get("/openapi.json").json()["paths"]
        for route in app.routes:
            if isinstance(route, Route):
                method = next(iter((route.methods or set()) - {"HEAD"}))
                served[route.path] = {method.lower()}
                open_ = client.request(method, route.path).status_code != 401
                assert (described[route.path][method.lower()].get("security") == []) == open_, route.path
            elif isinstance(route, WebSocketRoute):
                served[route.path] = {"get"}
    assert served == {path: set(methods) for path, methods in described.items()}


def test_nothing_but_the_page_is_given_away(client: TestClient) -> None:
    assert "<title>blitznet</title>" in client.get("/").text
    for name in ("app.js", "engine.js", "style.css"):
        text = client.get(f"/{name}").text
        assert "http://" not in text
        assert "https://" not in text
    for path in ("/../app.py", "/%2e%2e/app.py", "/..%2fapp.py", "//etc/passwd"):
        assert client.get(path).status_code in (404, 405)
    assert client.post("/v1/predict", content=str(Path(__file__)).encode()).status_code == 415


def test_images_may_be_bytes(predictor: Predictor) -> None:
    content = picture(kind="JPEG")
    np.testing.assert_array_equal(ImageSource(content).read(), np.asarray(Image.open(BytesIO(content))))
    assert len(predictor(content, min_score=0.1)) == len(predictor(Image.open(BytesIO(content)), min_score=0.1))
