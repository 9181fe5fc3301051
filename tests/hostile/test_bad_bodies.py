"""Every bad body gives the right status of HTTP and one sentence; the server continues."""

import base64
import gzip
import json
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from PIL import Image
from starlette.testclient import TestClient

from blitznet.api import load
from blitznet.serve.app import make_app
from support.cli_datasets import write_model
from support.hostile.case import DEEP_LIST, DEEP_OBJECT, HUGE, LONG, PNG, encode, png_of, with_scans, zeros
from support.servers import wait_until_ready

JSON, FORM = "application/json", "multipart/form-data; boundary=XX"
BOMB = png_of(40_000, 40_000, pixels=zeros(1 << 20))
SCANS = with_scans(encode(Image.new("L", (6_000, 6_000)), "JPEG", progressive=True), 2_000)
IMAGE = base64.b64encode(PNG).decode()
PREDICT, BATCH, INFER = "/v1/predict", "/v1/predict/batch", "/v2/models/small/infer"


class BadBody(NamedTuple):
    """A body, its type, and what it must answer."""

    id: str
    path: str
    content: bytes | str
    content_type: str
    status: int
    encoding: str = ""
    query: str = ""


def part(options: str, content: bytes, count: int = 1) -> bytes:
    """A form of equal parts."""
    part = b"--XX\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (options.encode(), content)
    return part * count + b"--XX--\r\n"


def infer(**changes: object) -> str:
    """A request of KServe with one tensor."""
    tensor = {"name": "image", "shape": [1, 64, 48, 3], "datatype": "UINT8", "data": [0]} | changes
    return json.dumps({"inputs": [tensor]})


CASES = (
    BadBody("nothing", PREDICT, b"", "image/png", 400),
    BadBody("text", PREDICT, b"hello", "text/plain", 415),
    BadBody("image cut", PREDICT, PNG[:40], "image/png", 415),
    BadBody("image of another format", PREDICT, b"%!PS-Adobe-3.0 EPSF-3.0\n", "image/png", 415),
    BadBody("pickle", PREDICT, b"\x80\x04cos\nsystem\n(S'true'\ntR.", "image/png", 415),
    BadBody("image bomb", PREDICT, BOMB, "image/png", 413),
    BadBody("image bomb in base64", PREDICT, base64.b64encode(BOMB), "text/plain", 413),
    BadBody("endless header of an image", PREDICT, b"P6\n" + b"#" * 200_000, "image/x-portable-pixmap", 415),
    BadBody("image of 2,000 scans", PREDICT, SCANS, "image/jpeg", 413),
    BadBody("gzip bomb", PREDICT, gzip.compress(bytes(64 << 20)), "image/png", 413, encoding="gzip"),
    BadBody("deflate bomb", PREDICT, zlib.compress(bytes(64 << 20)), "image/png", 413, encoding="deflate"),
    BadBody("gzip cut", PREDICT, gzip.compress(PNG)[:-9], "image/png", 400, encoding="gzip"),
    BadBody("gzip of other bytes", PREDICT, PNG, "image/png", 400, encoding="gzip"),
    BadBody("gzip with a tail", PREDICT, gzip.compress(PNG) + b"tail", "image/png", 400, encoding="gzip"),
    BadBody("unknown encoding", PREDICT, PNG, "image/png", 415, encoding="br"),
    BadBody("json cut", PREDICT, '{"image": "', JSON, 400),
    BadBody("json list", PREDICT, "[]", JSON, 400),
    BadBody("json, deep lists", PREDICT, DEEP_LIST, JSON, 400),
    BadBody("json, deep objects", PREDICT, DEEP_OBJECT, JSON, 400),
    BadBody("json, huge number", PREDICT, f'{{"image": {HUGE}}}', JSON, 400),
    BadBody("json, NaN", PREDICT, '{"image": NaN}', JSON, 400),
    BadBody("json, name twice", PREDICT, f'{{"image": "{IMAGE}", "image": "{IMAGE}"}}', JSON, 400),
    BadBody("json, half a character", PREDICT, '{"image": "\\ud800"}', JSON, 400),
    BadBody("json, half a character in a name", PREDICT, f'{{"image": "{IMAGE}", "\\ud800": 1}}', JSON, 400),
    BadBody("json, line end in a name", PREDICT, json.dumps({"image": IMAGE, "a\n\x1b[31m": 1}), JSON, 400),
    BadBody("json, image of a number", PREDICT, '{"image": 5}', JSON, 400),
    BadBody("json, image of a list", PREDICT, '{"image": ["x"]}', JSON, 400),
    BadBody("json, other bytes than UTF-8", PREDICT, b'{"image": "\xff"}', JSON, 400),
    BadBody("json, unknown field", PREDICT, json.dumps({"image": IMAGE, "code": "x"}), JSON, 400),
    BadBody("json, field of a list", PREDICT, json.dumps({"image": IMAGE, "min_score": [0]}), JSON, 400),
    BadBody("json, field with a long name", PREDICT, json.dumps({"image": IMAGE, LONG: 1}), JSON, 400),
    BadBody("json, score of NaN", PREDICT, json.dumps({"image": IMAGE, "min_score": "nan"}), JSON, 400),
    BadBody("many commas", PREDICT, "[" + "," * 5_000_000, JSON, 400),
    BadBody("form without an end", PREDICT, part('name="file"; filename="a"', PNG)[:-8], FORM, 400),
    BadBody("form without a boundary", PREDICT, part('name="file"; filename="a"', PNG), "multipart/form-data", 400),
    BadBody("form of two images", PREDICT, part('name="file"; filename="a"', PNG, 2), FORM, 400),
    BadBody("form of 10,000 parts", PREDICT, part('name="x"', b"", 10_000), FORM, 413),
    BadBody("form with a long name", PREDICT, part(f'name="{LONG}"', b"1"), FORM, 400),
    BadBody("form without names", PREDICT, part("", PNG), FORM, 400),
    BadBody("urlencoded, escapes", PREDICT, b"image=" + b"%41" * 300_000, "application/x-www-form-urlencoded", 400),
    BadBody(
        "urlencoded, many fields",
        PREDICT,
        "&".join(["x=1"] * 99),
        "application/x-www-form-urlencoded",
        400,
    ),
    BadBody("data URI without base64", PREDICT, b"data:image/png,xxxxxxxxxxxxxxxxxxxx", "text/plain", 415),
    BadBody("unknown parameter", PREDICT, PNG, "image/png", 400, query="?code=1"),
    BadBody("parameter twice", PREDICT, PNG, "image/png", 400, query="?min_score=0&min_score=1"),
    BadBody("score of 2", PREDICT, PNG, "image/png", 400, query="?min_score=2"),
    BadBody("score of NaN", PREDICT, PNG, "image/png", 400, query="?min_score=nan"),
    BadBody("unknown format", PREDICT, PNG, "image/png", 400, query="?format=exe"),
    BadBody("batch of nothing", BATCH, '{"images": []}', JSON, 400),
    BadBody("batch of an object", BATCH, '{"images": {}}', JSON, 400),
    BadBody("batch of 1,000 images", BATCH, json.dumps({"images": ["x"] * 1_000}), JSON, 413),
    BadBody("batch with other text", BATCH, json.dumps({"images": [IMAGE, "?"]}), JSON, 400),
    BadBody("infer, text", INFER, "hello", JSON, 400),
    BadBody("infer, deep", INFER, DEEP_LIST, JSON, 400),
    BadBody("infer, no inputs", INFER, "{}", JSON, 400),
    BadBody("infer, half a character in a name", INFER, '{"\\ud800": 1}', JSON, 400),
    BadBody("infer, half a character in a tensor", INFER, infer(name="\ud800"), JSON, 400),
    BadBody("infer, line end in a name", INFER, '{"a\\nb": 1}', JSON, 400),
    BadBody("infer, inputs of numbers", INFER, '{"inputs": [1]}', JSON, 400),
    BadBody("infer, negative shape", INFER, infer(shape=[1, -1, 48, 3]), JSON, 400),
    BadBody("infer, shape of 2^60", INFER, infer(shape=[1, 1 << 30, 1 << 30, 3]), JSON, 413),
    BadBody("infer, fewer values", INFER, infer(), JSON, 400),
    BadBody("infer, values of text", INFER, infer(data=["x"]), JSON, 400),
    BadBody("infer, unknown type", INFER, infer(datatype="OBJECT"), JSON, 400),
    BadBody("infer, unknown tensor", INFER, infer(name="code"), JSON, 400),
    BadBody("infer, deep name", INFER, infer().replace('"image"', "[" * 900 + "]" * 900), JSON, 400),
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One client for all bodies: the server must survive each."""
    path = write_model(str(tmp_path_factory.mktemp("model") / "small.onnx"))
    with TestClient(make_app(load(path, engine="onnxruntime"))) as client:
        wait_until_ready(client)
        yield client


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_bad_body_is_one_sentence(case: BadBody, client: TestClient) -> None:
    headers = {"Content-Type": case.content_type, **({"Content-Encoding": case.encoding} if case.encoding else {})}
    content = case.content.encode() if isinstance(case.content, str) else case.content
    response = client.post(case.path + case.query, content=content, headers=headers)
    assert response.status_code == case.status, response.text[:500]
    message = response.json()["error"]
    assert 0 < len(message) < 1_000
    assert message.isprintable()
    assert "Traceback" not in message


def test_the_server_still_predicts(client: TestClient) -> None:
    assert client.post(PREDICT, content=PNG).status_code == 200
