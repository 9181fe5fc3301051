"""schemathesis: requests generated from the OpenAPI document, valid and invalid ones, to a real server."""

import subprocess
import sys
from pathlib import Path

import pytest

from blitznet.runtime.predictor import Predictor
from blitznet.serve.limits import ServeLimits
from support.fake_engines import FakeEngine, random_outputs
from support.servers import run_server

pytest.importorskip("schemathesis")
pytestmark = pytest.mark.slow

CONFIG = """
[checks]
# A schema cannot state which bytes are an image, or that a route is a WebSocket.
positive_data_acceptance.expected-statuses = ["2xx", "400", "413", "415", "426"]
negative_data_rejection.expected-statuses = ["400", "401", "404", "405", "406", "413", "415", "426"]
"""


@pytest.mark.parametrize("token", [None, "secret"])
def test_schemathesis_finds_no_fault(token: str | None, tmp_path: Path) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    with run_server(Predictor(FakeEngine(random_outputs(4))), ServeLimits(timeout=600), token=token) as (_, port):
        words = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)]
        words += ["run", f"http://127.0.0.1:{port}/openapi.json", "--max-examples", "40", "--seed", "1"]
        words += ["--no-color", "--continue-on-failure", "--request-timeout", "60"]
        words += [] if token is None else ["--header", f"Authorization: Bearer {token}"]
        result = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=3000)
    assert result.returncode == 0, result.stdout[-10_000:] + result.stderr[-2_000:]
    assert "17 selected / 17 total" in result.stdout
