import asyncio
import base64
import json
import struct
import time
import warnings
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from blitznet.core.image import ImageSource
from blitznet.core.spec import Task
from blitznet.runtime.predictor import BasePredictor, Predictor
from blitznet.serve.app import make_app
from blitznet.serve.limits import ServeLimits
from support.fake_engines import SPEC, FakeEngine, random_outputs
from support.images import encode_random_image
from support.servers import run_server, wait_until_ready

INFER = "/v2/models/small/infer"


def make_input(shape: list[int], data: Any, **fields: Any) -> bytes:
    """A request with pixels."""
    tensor = {"name": "image", "datatype": "UINT8", "shape": shape, "data": data}
    return json.dumps({"inputs": [tensor], **fields}).encode()


def make_files(count: int, shape: list[int]) -> bytes:
    """A request with image files."""
    data = [base64.b64encode(encode_random_image(seed)).decode() for seed in range(count)]
    return json.dumps({"inputs": [{"name": "image_bytes", "datatype": "BYTES", "shape": shape, "data": data}]}).encode()


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
    body: dict[str, Any] = {"inputs": [{"name": "image_bytes", "datatype": "BYTES", "shape": [1], "data": [image]}]}
    with TestClient(make_app(Predictor(engine))) as client:
        wait_until_ready(client)
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
        (b"[" * 100_000, "expected a request of the inference protocol, got a body that is not JSON"),
        (b"[]", "the request: expected an object"),
        (b"{}", "inputs: expected one input, image or image_bytes, got no list"),
        (b'{"inputs": [], "x": 1}', "the request: unknown field x"),
        (b'{"inputs": [], "id": [1]}', "id: expected a string, got list"),
        (b'{"inputs": [], "model_name": "other"}', "model_name: expected small"),
        (b'{"inputs": []}', "inputs: expected one input, image or image_bytes, got 0"),
        (b'{"inputs": [{}, {}]}', "inputs: expected one input, image or image_bytes, got 2"),
        (b'{"inputs": [{"name": "x"}]}', "inputs: expected one input, image or image_bytes, got x"),
        (b'{"inputs": [{"name": "image", "datatype": "FP32"}]}', "image: expected datatype UINT8, got FP32"),
        (b'{"inputs": [], "parameters": {"x": 2}}', "parameters: unknown field x"),
        (make_input([10**30, 1, 3], [1, 2, 3]), "image: expected a shape of integers"),
        (make_input([-1, 1, 3], [1, 2, 3]), "image: expected a shape of integers"),
        (make_input([5, 1, 3], [1, 2, 3]), "image: expected 15 integers 0 to 255 for [5, 1, 3], got 3 values"),
        (make_input([2, 3], [1, 2, 3]), "image: expected one image of shape (H, W, 3), got [2, 3]"),
        (make_input([1, 1, 3], [0, 256, 0]), "integers 0 to 255 for [1, 1, 3], got values 0 to 256"),
        (make_input([1, 1, 3], [[0, 1], [2]]), "image: expected 3 integers"),
        (make_input([1, 1, 3], [0.5, 1, 2]), "image: expected 3 integers"),
        (make_input([1, 1, 3], [0, 1, 0], parameters={"min_score": 2}), "min_score: expected 0 to 1, got '2'"),
        (make_input([1, 1, 3], None), "image: expected 3 integers"),
        (make_input([1, 1, 3], []), "image: expected 3 integers"),
        (make_input([1, 1, 3], [0, 1, True]), "image: expected 3 integers"),
        (make_input([1, 1, 3], [0, 1, "2"]), "image: expected 3 integers"),
        (make_input([1, 1, 3], [[[0, 1, "2"]]]), "image: expected 3 integers"),
        (make_input([1, 1, 3], [0, 1, 2**80]), "image: expected 3 integers"),
        (make_input([1, 2, 3], [[0, 1, 2], [3, 4, 5]]), "for [1, 2, 3], got lists of shape [2, 3]"),
        (make_input([21845, 1, 3], ["a" * 100_000] + [""] * 65_534), "image: expected 65,535 integers"),
        (
            b'{"inputs": [], "outputs": [{"name": "x"}]}',
            "outputs: expected names from boxes, scores, labels, class_map, got x",
        ),
        (
            b'{"inputs": [], "outputs": [{"name": [1]}]}',
            "outputs: expected names from boxes, scores, labels, class_map, got [1]",
        ),
        (
            b'{"inputs": [], "outputs": [{"name": "boxes", "parameters": {"classification": 3}}]}',
            "outputs: parameters of boxes: unknown field classification",
        ),
        (
            make_input([1, 1, 3], [0, 1, 2], outputs=[{"name": "boxes", "datatype": "FP16"}]),
            "outputs: boxes: expected datatype FP32, got FP16",
        ),
        (
            make_input([1, 1, 3], [0, 1, 2], outputs=[{"name": "boxes", "shape": [-1, 5]}]),
            "outputs: boxes: expected shape [-1, 4], got [-1, 5]",
        ),
        (make_files(2, [1]), "image_bytes: expected one image, got 2"),
        (make_files(2, [2]), "image_bytes: expected one image, shape [1], got shape [2]"),
        (make_files(1, [5]), "image_bytes: expected one image, shape [1], got shape [5]"),
        (make_files(1, [-1]), "image_bytes: expected a shape of integers"),
    ],
)
def test_an_invalid_request_is_400(content: bytes, message: str, client: TestClient) -> None:
    response = client.post(INFER, content=content)
    assert response.status_code == 400
    assert message in response.json()["error"]


def test_a_long_shape_is_refused_at_once(client: TestClient) -> None:
    start = time.process_time()
    response = client.post(INFER, content=make_files(1, [2**31 - 1] * 100_000))
    assert "image_bytes: expected one image, shape [1], got shape [2147483647, " in response.json()["error"]
    assert time.process_time() - start < 5  # the product of the shape takes a minute


def test_a_query_is_refused_before_the_body_is_read(client: TestClient) -> None:
    response = client.post(f"{INFER}?min_score=0", content=b"x", headers={"Content-Length": "99999999999"})
    assert (response.status_code, response.json()["error"]) == (400, "min_score: unknown parameter")


def test_the_event_loop_runs_while_a_long_request_is_parsed(predictor: BasePredictor) -> None:
    app = make_app(predictor, limits=ServeLimits(timeout=600))
    numbers = b"7," * 3_000_000 + b"7,7,256"  # invalid, which is known once all of it is parsed
    tensor = b'{"name": "image", "datatype": "UINT8", "shape": [1000001, 1, 3], "data": [%s]}' % numbers
    content = b'{"inputs": [%s]}' % tensor
    scope = {"type": "http", "method": "POST", "path": INFER, "query_string": b"", "headers": [], "root_path": ""}
    sent: list[Any] = []
    delays: list[float] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content}

    async def send(message: Any) -> None:
        sent.append(message)

    async def measure_delays() -> None:
        while not sent:
            start = time.process_time()  # of all threads: not of a busy machine
            await asyncio.sleep(0)
            delays.append(time.process_time() - start)

    async def run_both() -> None:
        await asyncio.gather(measure_delays(), app(scope, receive, send))

    asyncio.run(run_both())
    app.state.service.close()
    assert sent[0]["status"] == 400
    assert b"integers 0 to 255" in sent[1]["body"]
    assert max(delays) < sum(delays) / 4


def binary_request(header: dict[str, Any], content: bytes) -> tuple[bytes, dict[str, str]]:
    text = json.dumps(header).encode()
    return text + content, {"Inference-Header-Content-Length": str(len(text))}


def test_binary_tensors(client: TestClient, predictor: BasePredictor) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (20, 30, 3), np.uint8)
    expected = predictor(pixels, min_score=0.3)
    assert expected.class_map is not None
    content = BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    file = content.getvalue()
    for name, datatype, shape, data in (
        ("image", "UINT8", [20, 30, 3], pixels.tobytes()),
        ("image_bytes", "BYTES", [1], struct.pack("<I", len(file)) + file),
    ):
        tensor = {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(data)}}
        header = {"inputs": [tensor], "parameters": {"min_score": 0.3, "binary_data_output": True}}
        body, headers = binary_request(header, data)
        response = client.post(INFER, content=body, headers=headers)
        assert response.headers["content-type"] == "application/octet-stream"
        length = int(response.headers["inference-header-content-length"])
        outputs = {output["name"]: output for output in json.loads(response.content[:length])["outputs"]}
        start = length
        for output, array, dtype in (
            ("boxes", expected.boxes, "<f4"),
            ("scores", expected.scores, "<f4"),
            ("labels", expected.labels, "<i8"),
            ("class_map", expected.class_map, "u1"),
        ):
            size = outputs[output]["parameters"]["binary_data_size"]
            values = np.frombuffer(response.content[start : start + size], dtype).reshape(outputs[output]["shape"])
            np.testing.assert_array_equal(values, array)
            start += size
        assert start == len(response.content)


@pytest.mark.parametrize(
    ("size", "content", "headers", "message"),
    [
        (3, b"123", {"Inference-Header-Content-Length": "x"}, "Inference-Header-Content-Length: expected the length"),
        (
            3,
            b"123",
            {"Inference-Header-Content-Length": "99999"},
            "Inference-Header-Content-Length: expected the length",
        ),
        (4, b"123", {}, "image: expected binary_data_size bytes after the JSON, got 3"),
        (3, b"1234", {}, "image: expected binary_data_size bytes after the JSON, got 4"),
        (4, b"1234", {}, "image: expected 3 bytes for [1, 1, 3], got 4"),
    ],
)
def test_an_invalid_binary_tensor_is_400(
    size: int, content: bytes, headers: dict[str, str], message: str, client: TestClient
) -> None:
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 1, 3], "parameters": {"binary_data_size": size}}
    body, length = binary_request({"inputs": [tensor]}, content)
    response = client.post(INFER, content=body, headers={**length, **headers})
    assert (response.status_code, message in response.json()["error"]) == (400, True)


def test_a_large_class_map_is_refused_in_json_before_inference(client: TestClient) -> None:
    content = BytesIO()
    Image.new("L", (3200, 3200)).save(content, "PNG")
    tensor = {"name": "image_bytes", "datatype": "BYTES", "shape": [1]}
    body = {"inputs": [{**tensor, "data": [base64.b64encode(content.getvalue()).decode()]}]}
    response = client.post(INFER, json=body)
    assert response.status_code == 413
    assert "class_map: expected at most 10,000,000 pixels in JSON, got 3200x3200" in response.json()["error"]
    assert client.post(INFER, json={**body, "outputs": [{"name": "labels"}]}).status_code == 200


def test_tritonclient_works_with_its_defaults(predictor: BasePredictor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries that it imports
        triton = pytest.importorskip("tritonclient.http")
    content = encode_random_image()
    expected = predictor(content, min_score=0.5)
    with run_server(predictor) as (_, port), triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        while not client.is_server_ready():
            time.sleep(0.01)
        assert client.is_server_live()
        assert client.is_model_ready("small")
        assert client.get_model_metadata("small")["name"] == "small"
        image_file = triton.InferInput("image_bytes", [1], "BYTES")
        image_file.set_data_from_numpy(np.array([content], dtype=object))
        pixels = triton.InferInput("image", [40, 60, 3], "UINT8")
        pixels.set_data_from_numpy(ImageSource(content).read())
        for tensor in (image_file, pixels):
            for compression in (None, "gzip"):
                result = client.infer("small", [tensor], request_compression_algorithm=compression)
                np.testing.assert_array_equal(result.as_numpy("boxes"), expected.boxes)
                np.testing.assert_array_equal(result.as_numpy("labels"), expected.labels)
                np.testing.assert_array_equal(result.as_numpy("class_map"), expected.class_map)
        outputs = [triton.InferRequestedOutput("class_map"), triton.InferRequestedOutput("scores", binary_data=False)]
        result = client.infer("small", [pixels], outputs=outputs, request_id="7")
        np.testing.assert_array_equal(result.as_numpy("class_map"), expected.class_map)
        np.testing.assert_array_equal(result.as_numpy("scores"), expected.scores)
        assert result.get_response()["id"] == "7"
        with pytest.raises(triton.InferenceServerException, match="unknown model"):
            client.infer("other", [pixels])
