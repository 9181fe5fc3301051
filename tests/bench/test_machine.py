import platform
import sys

import pytest

from blitznet.bench.machine import describe_machine, describe_run
from blitznet.runtime.threads import available_threads


def test_describe_machine() -> None:
    machine = describe_machine()
    assert machine.processor
    assert machine.cores == available_threads()
    assert machine.total_cores >= 1
    assert machine.system == platform.platform()


def test_describe_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/blitznet", "bench", "a file.onnx"])
    run = describe_run("blitznet", ("numpy",))
    assert run["command"] == "blitznet bench 'a file.onnx'"
    assert run["date"].endswith("+00:00")
    assert run["versions"].keys() == {"python", "numpy"}
