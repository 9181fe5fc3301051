import base64
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from blitznet.core.image import ImageSource
from blitznet.core.rle import decode_rle
from blitznet.runtime.predictor import BasePredictor, Predictor
from blitznet.serve.app import make_app
from blitznet.serve.limits import ServeLimits
from blitznet.serve.response import to_payload
from support.fake_engines import SPEC, FakeEngine, random_outputs
from support.images import encode_random_image


def encode_batch(*contents: bytes) -> dict[str, list[str]]:
    return {"images": [base64.b64encode(content).decode() for content in contents]}


@pytest.mark.parametrize(
    ("path", "headers", "status", "message"),
    [
        (f"/v1/predict?{'a&' * 10_000}", {}, 400, "expected at most 32 parameters, got more"),
        (f"/v2/models/small/infer?{'a&' * 10_000}", {}, 400, "expected at most 32 parameters, got more"),
        ("/v1/predict", {"accept": "," * 10_000}, 400, "Accept: expected at most 1,000 characters, got 10,000"),
        ("/v1/predict", {"content-encoding": "br"}, 415, "Content-Encoding: expected gzip, deflate or none, got br"),
    ],
)
def test_headers_and_queries_are_refused_before_they_are_parsed_and_the_body_is_read(
    path: str, headers: dict[str, str], status: int, message: str, client: TestClient
) -> None:
    response = client.post(path, headers={**headers, "content-length": "99999999999"})
    assert (response.status_code, response.json()["error"]) == (status, message)


def test_a_websocket_with_a_long_query_is_refused(client: TestClient) -> None:
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect(f"/v1/stream?{'a&' * 10_000}"),
    ):
        pass
    assert refused.value.status_code == 400


def test_predict_returns_the_predictors_result(client: TestClient, predictor: BasePredictor) -> None:
    content = encode_random_image()
    response = client.post("/v1/predict?min_score=0.3&class_map=1&panoptic=1", content=content)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    expected = to_payload(predictor(content, min_score=0.3), class_map=True, panoptic=True)
    assert expected["detections"]
    assert response.json() == expected
    plain = client.post("/v1/predict", content=content).json()
    assert plain["detections"] == predictor(content, min_score=0.5).to_dict()["detections"]
    assert "class_map" not in plain


@pytest.mark.parametrize(
    ("query", "accept", "kind", "mode"),
    [
        ("", "image/png", "PNG", "RGB"),
        ("", "image/jpeg", "JPEG", "RGB"),
        ("", "image/png;content=class_map", "PNG", "P"),
        ("", "image/*", "JPEG", "RGB"),
        ("?format=overlay", "*/*", "JPEG", "RGB"),
        ("?format=overlay", "image/png, */*;q=0.5", "PNG", "RGB"),
        ("?format=class_map", "*/*", "PNG", "P"),
        ("?format=class_map", "image/jpeg", "PNG", "P"),
    ],
)
def test_predict_returns_an_image(
    query: str, accept: str, kind: str, mode: str, client: TestClient, predictor: BasePredictor
) -> None:
    content = encode_random_image()
    response = client.post(f"/v1/predict{query}", content=content, headers={"accept": accept})
    assert response.headers["content-type"] == f"image/{kind.lower()}"
    image = Image.open(BytesIO(response.content))
    assert (image.format, image.mode, image.size) == (kind, mode, (60, 40))
    if mode == "P":
        np.testing.assert_array_equal(np.asarray(image), predictor(content).class_map)


def test_batch_returns_a_result_for_each_image(client: TestClient, predictor: BasePredictor) -> None:
    contents = [encode_random_image(seed, (30 + seed, 50)) for seed in range(5)]
    results = client.post("/v1/predict/batch?min_score=0.3", json=encode_batch(*contents)).json()["results"]
    assert results == [
        to_payload(predictor(content, min_score=0.3), class_map=False, panoptic=False) for content in contents
    ]


def test_batch_returns_the_error_of_an_image_in_its_place(client: TestClient, predictor: BasePredictor) -> None:
    image = encode_random_image()
    response = client.post("/v1/predict/batch?min_score=0.3", json=encode_batch(image, b"no image", b"", image))
    first, second, third, last = response.json()["results"]
    assert response.status_code == 200
    assert first == last == to_payload(predictor(image, min_score=0.3), class_map=False, panoptic=False)
    assert second["status"] == 415
    assert "not an image of a known format (JPEG, PNG, WEBP, BMP, TIFF, GIF, PPM)" in second["error"]
    assert third == {"error": "expected the bytes of an image, got nothing", "status": 400}


def test_a_batch_may_fill_the_queue(predictor: BasePredictor) -> None:
    limits = ServeLimits(max_images=20, max_queue=20)
    with TestClient(make_app(predictor, limits=limits)) as client:
        body = encode_batch(*[encode_random_image()] * 20)
        assert client.post("/v1/predict/batch", json=body).status_code == 200


def test_stream_replies_to_each_image(client: TestClient, predictor: BasePredictor) -> None:
    with client.websocket_connect("/v1/stream?min_score=0.3&class_map=1") as socket:
        for seed in range(3):
            frame = encode_random_image(seed, file_format="JPEG")
            socket.send_bytes(frame)
            reply = socket.receive_json()
            expected = predictor(frame, min_score=0.3)
            assert reply["detections"] == expected.to_dict()["detections"]
            np.testing.assert_array_equal(decode_rle(reply["class_map"]), expected.class_map)
        socket.send_bytes(b"no image")
        assert socket.receive_json()["status"] == 415
        socket.send_bytes(encode_random_image())
        assert "detections" in socket.receive_json()
        socket.send_text("no image")
        assert socket.receive_json()["status"] == 415
        socket.send_text(f"data:image/png;base64,{base64.b64encode(encode_random_image()).decode()}")
        assert "detections" in socket.receive_json()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("class_map=yes", "class_map: expected 0 or 1, got 'yes'"),
        ("min_score=2", "min_score: expected 0 to 1, got '2'"),
        ("format=overlay", "format: expected json, got 'overlay'"),
    ],
)
def test_stream_refuses_what_http_refuses(query: str, message: str, client: TestClient) -> None:
    with client.websocket_connect(f"/v1/stream?{query}") as socket, pytest.raises(WebSocketDisconnect) as end:
        socket.receive_json()
    assert (end.value.code, end.value.reason) == (4400, message)


@pytest.mark.parametrize(
    ("path", "content", "headers", "status", "message"),
    [
        ("/v1/predict", b"", {}, 400, "expected the bytes of an image, got nothing"),
        ("/v1/predict", b"text", {}, 415, "not an image of a known format"),
        ("/v1/predict", encode_random_image()[:300], {}, 415, "cannot be decoded"),
        ("/v1/predict", encode_random_image(), {"accept": "text/html"}, 406, "expected Accept: application/json"),
        ("/v1/predict?min_score=2", encode_random_image(), {}, 400, "min_score: expected 0 to 1, got '2'"),
        ("/v1/predict?format=x", encode_random_image(), {}, 400, "format: expected json, overlay or class_map"),
        ("/v1/predict?class_map=yes", encode_random_image(), {}, 400, "class_map: expected 0 or 1, got 'yes'"),
        ("/v1/predict/batch", b"[]", {}, 400, "expected {"),
        ("/v1/predict/batch", b'{"images": ["?"]}', {}, 400, "images[0]: expected an image in base64"),
        ("/v1/predict/batch", b'{"images": []}', {}, 400, "expected 1 to 16 images, got 0"),
        ("/v1/predict/batch", b'{"images": [""], "x": 1}', {}, 400, "x: unknown parameter; expected min_score"),
        ("/v1/predict?x=1", encode_random_image(), {}, 400, "x: unknown parameter"),
        ("/v1/predict?min_score=0&min_score=1", encode_random_image(), {}, 400, "expected each parameter once"),
        ("/v1/predict?format=overlay&panoptic=1", encode_random_image(), {}, 400, "with the format json only"),
        ("/v1/predict", encode_random_image(), {"content-encoding": "br"}, 415, "expected gzip, deflate or none"),
        ("/v1/predict", encode_random_image(), {"content-encoding": "gzip"}, 400, "expected a body in gzip"),
        (
            "/v1/predict/batch",
            b'{"images": [%s]}' % b", ".join([b'""'] * 17),
            {},
            413,
            "expected 1 to 16 images, got 17",
        ),
        ("/v1/predict/batch", b"", {"accept": "image/png"}, 406, "batch: expected the format json, got 'overlay'"),
        ("/v1/predict/batch", b"[" * 100_000, {}, 400, "expected {"),
    ],
)
def test_an_invalid_request_is_refused(
    path: str, content: bytes, headers: dict[str, str], status: int, message: str, client: TestClient
) -> None:
    response = client.post(path, content=content, headers=headers)
    assert response.status_code == status
    assert message in response.json()["error"]


def test_model_metadata(client: TestClient) -> None:
    model = client.get("/v1/model").json()
    assert (model["name"], model["engine"], model["limits"]["max_queue"]) == ("small", "onnxruntime", 64)
    assert model["limits"]["max_images"] == 16
    assert "license" in model


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/v1/predict", 405, "POST"),
        ("PUT", "/v1/predict", 405, "POST"),
        ("OPTIONS", "/v1/predict/batch", 405, "POST"),
        ("POST", "/healthz", 405, "GET, HEAD"),
        ("POST", "/v1/nope", 404, None),
        ("GET", "/nope", 404, None),
        ("GET", "/v1/predict/", 404, None),
        ("POST", "/v2/models/other/infer", 404, None),
        ("GET", "/v2/models/small/versions/2", 404, None),
        ("GET", "/v2/models/small/infer", 405, "POST"),
        ("POST", "/v2/models/small/versions/1/ready", 405, "GET, HEAD"),
        ("GET", "/v1/stream", 426, None),
        ("POST", "/v1/stream", 405, "GET, HEAD"),
    ],
)
def test_wrong_methods_and_addresses(
    method: str, path: str, status: int, allow: str | None, client: TestClient
) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert sorted(response.headers.get("allow", "").split(", ")) == sorted((allow or "").split(", "))
    assert response.json()["error"]


def test_a_model_without_segmentation_refuses_class_maps(predictor: BasePredictor) -> None:
    engine = FakeEngine(replace(random_outputs(4), segmentation_logits=None), replace(SPEC, tasks=("detection",)))
    with TestClient(make_app(Predictor(engine))) as client:
        for query in ("class_map=1", "panoptic=1", "format=class_map"):
            response = client.post(f"/v1/predict?{query}", content=encode_random_image())
            assert (response.status_code, "no segmentation" in response.json()["error"]) == (400, True)


def test_the_page_is_revalidated_and_cannot_be_framed(client: TestClient) -> None:
    response = client.get("/app.js")
    assert response.headers["cache-control"] == "no-cache"
    assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
    assert client.get("/app.js", headers={"if-none-match": response.headers["etag"]}).status_code == 304


def test_only_the_pages_files_are_served(client: TestClient) -> None:
    assert "<title>blitznet</title>" in client.get("/").text
    for name in ("app.js", "engine.js", "style.css"):
        text = client.get(f"/{name}").text
        assert "http://" not in text
        assert "https://" not in text
    for path in ("/../app.py", "/%2e%2e/app.py", "/..%2fapp.py", "//etc/passwd"):
        assert client.get(path).status_code in (404, 405)
    assert client.post("/v1/predict", content=str(Path(__file__)).encode()).status_code == 415


def test_image_bytes_decode_as_pillow_decodes_them(predictor: BasePredictor) -> None:
    content = encode_random_image(file_format="JPEG")
    np.testing.assert_array_equal(ImageSource(content).read(), np.asarray(Image.open(BytesIO(content))))
    assert len(predictor(content, min_score=0.1)) == len(predictor(Image.open(BytesIO(content)), min_score=0.1))
