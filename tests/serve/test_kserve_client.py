"""KServe's own client with its defaults, in an environment of its own."""

import json
import subprocess
import time
import venv
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pytest

from blitznet.core.image import ImageSource
from blitznet.runtime.predictor import BasePredictor
from support.images import encode_random_image
from support.servers import run_server

pytestmark = pytest.mark.slow

PACKAGE = "kserve==0.21.0"
"""it requires other versions of psutil and protobuf than this environment has"""
SCRIPT = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

address, folder = sys.argv[1:]

async def main():
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    health = [await client.is_server_live(address), await client.is_server_ready(address),
              await client.is_model_ready(address, "small")]
    image_file = InferInput("image_bytes", [1], "BYTES")
    image_file.set_data_from_numpy(np.array([open(f"{folder}/image.png", "rb").read()], dtype=object))
    image = np.load(f"{folder}/image.npy")
    pixels = InferInput("image", list(image.shape), "UINT8")
    pixels.set_data_from_numpy(image)
    in_json = InferInput("image", list(image.shape), "UINT8")
    in_json.set_data_from_numpy(image, binary_data=False)
    binary = [RequestedOutput(name, {"binary_data": True}) for name in ("boxes", "labels", "class_map")]
    responses = []
    for tensor, outputs in ((image_file, None), (pixels, None), (in_json, None), (pixels, binary)):
        request = InferRequest("small", [tensor], request_id="7", request_outputs=outputs)
        response = await client.infer(address, request, model_name="small")
        arrays = {output.name: output.as_numpy().tolist() for output in response.outputs}
        responses.append({"id": response.id, "arrays": arrays})
    print(json.dumps({"health": health, "responses": responses}))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with KServe's client."""
    folder = tmp_path_factory.mktemp("kserve")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    words = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]
    result = subprocess.run(words, capture_output=True, text=True)
    if result.returncode:
        pytest.skip(f"cannot install {PACKAGE}: {result.stderr[-300:]}")
    return python


def wait_for_ready(address: str) -> None:
    while True:
        try:
            urlopen(f"{address}/readyz", timeout=20).close()
        except HTTPError:
            time.sleep(0.05)
        else:
            return


def test_the_client_works_with_its_defaults(python: Path, predictor: BasePredictor, tmp_path: Path) -> None:
    content = encode_random_image()
    expected = predictor(content, min_score=0.5)
    (tmp_path / "image.png").write_bytes(content)
    np.save(tmp_path / "image.npy", ImageSource(content).read())
    with run_server(predictor) as (_, port):
        address = f"http://127.0.0.1:{port}"
        wait_for_ready(address)
        words = [str(python), "-c", SCRIPT, address, str(tmp_path)]
        result = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    report = json.loads(result.stdout.splitlines()[-1])
    assert report["health"] == [True, True, True]
    assert len(report["responses"]) == 4
    for response in report["responses"]:
        assert response["id"] == "7"
        assert {"boxes", "labels", "class_map"} <= set(response["arrays"])
        for name, values in response["arrays"].items():
            array = getattr(expected, name)
            np.testing.assert_array_equal(np.array(values, array.dtype).reshape(array.shape), array)
