from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from blitznet.api import load
from blitznet.runtime.predictor import BasePredictor
from blitznet.serve.app import make_app
from support.cli_datasets import write_model
from support.servers import wait_until_ready


@pytest.fixture(scope="package")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> BasePredictor:
    """A predictor of a small model, `small`."""
    return load(write_model(str(tmp_path_factory.mktemp("model") / "small.onnx")), engine="onnxruntime")


@pytest.fixture
def client(predictor: BasePredictor) -> Iterator[TestClient]:
    """A client of a server with the default limits and no token."""
    with TestClient(make_app(predictor)) as client:
        wait_until_ready(client)
        yield client
