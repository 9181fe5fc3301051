"""A real cluster of several nodes on this machine; workers and nodes are killed while they predict."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from blitznet.api import load
from blitznet.bulk.predict import PartJob
from blitznet.bulk.progress import ProgressMeter
from blitznet.bulk.ray_runner import ray_runner
from blitznet.bulk.run import BulkSource, BulkSummary, Runner, local_runner, run_bulk
from blitznet.bulk.settings import BulkSettings, identify_model
from blitznet.core.errors import UsageError
from support.bulk import contents, end_process, load_slow, parts, read_rows, write_images
from support.fake_engines import SPEC, write_onnx

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # Ray's own warnings

IMAGES = 60
NODES = 3
SETTINGS = BulkSettings(engine="onnxruntime")
WORKER_LOAD = partial(load, engine="onnxruntime", threads=1)
_START_SECONDS = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, images, and the parts of a run without a cluster."""
    root = tmp_path_factory.mktemp("cluster")
    write_onnx(root / "small.onnx")
    write_images(root / "images", IMAGES)
    (root / "images" / "0007.png").write_bytes(b"broken")
    meter = ProgressMeter()
    run_into(root, "alone", local_runner(job(root, "alone"), WORKER_LOAD(root / "small.onnx"), meter))
    return root


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without processors, and three nodes of one processor."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # the workers load `support`
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(NODES):
        cluster.add_node(wait=False, num_cpus=1)
    cluster.wait_for_nodes(_START_SECONDS)
    yield cluster
    cluster.shutdown()


def job(root: Path, out: str) -> PartJob:
    return PartJob(identify_model(root / "small.onnx", SPEC.classes), SETTINGS, str(root / out))


def run_into(root: Path, out: str, runner: Runner) -> BulkSummary:
    meter = ProgressMeter()
    return run_bulk(BulkSource((str(root / "images"),), 3), job(root, out), runner, meter)


def run_on(cluster: Any, root: Path, out: str) -> BulkSummary:
    return run_into(root, out, ray_runner(job(root, out), root / "small.onnx", WORKER_LOAD, cluster.address, NODES))


def assert_same_parts(root: Path, out: str) -> None:
    """Every image is in one part, and the bytes of all parts equal those of the run without a cluster."""
    assert [row["id"] for row in read_rows(root / out)] == [f"{root}/images/{n:04}.png" for n in range(IMAGES)]
    expected = {path.name: path.read_bytes() for path in parts(root / "alone")}
    assert {path.name: path.read_bytes() for path in parts(root / out)} == expected


def worker_processes() -> list[int]:
    """Process ids of the workers that hold the model, by the name that Ray gives them."""
    commands = {path.parent.name: read_command(path) for path in Path("/proc").glob("[0-9]*/cmdline")}
    return [int(process) for process, command in commands.items() if command.startswith(b"ray::_PartWorker")]


def read_command(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has just ended
        return b""


def wait_for_parts(folder: Path, count: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while len(parts(folder)) < count and time.monotonic() < deadline:
        time.sleep(0.02)


def test_a_cluster_writes_the_same_parts(cluster: Any, folder: Path) -> None:
    assert run_on(cluster, folder, "cluster") == BulkSummary(20, IMAGES, 1, IMAGES)
    assert_same_parts(folder, "cluster")
    before = contents(folder / "cluster")
    assert run_on(cluster, folder, "cluster") == BulkSummary(20, IMAGES, 1, 0)
    assert contents(folder / "cluster") == before


def test_a_worker_and_a_node_are_killed(cluster: Any, folder: Path) -> None:
    import ray

    written: list[int] = []

    def kill() -> None:
        wait_for_parts(folder / "killed", 2)
        os.kill(worker_processes()[0], signal.SIGKILL)
        wait_for_parts(folder / "killed", 6)
        own = ray._private.worker.global_worker.node._raylet_socket_name
        node = next(node for node in cluster.worker_nodes if node._raylet_socket_name != own)
        cluster.remove_node(node, allow_graceful=False)
        written.append(len(parts(folder / "killed")))

    thread = Thread(target=kill)
    thread.start()
    runner = ray_runner(job(folder, "killed"), folder / "small.onnx", partial(load_slow, 0.4), cluster.address, NODES)
    summary = run_into(folder, "killed", runner)
    thread.join()
    assert [count < 20 for count in written] == [True], "expected the kills to come before the end of the run"
    assert summary == BulkSummary(20, IMAGES, 1, IMAGES)
    assert_same_parts(folder, "killed")


def test_the_command_on_a_cluster_of_its_own(folder: Path) -> None:
    words = ["batch", "images", "--model", "small.onnx", "--engine", "onnxruntime", "--shard-size", "9"]
    words += ["--ray", "local", "--workers", "1", "--out", "command"]
    run = partial(subprocess.run, capture_output=True, text=True, check=False, cwd=folder)
    done = run([sys.executable, "-m", "blitznet", *words])
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith(f"parts: command   7 parts, {IMAGES} images, 1 cannot be read")
    assert [row["id"] for row in read_rows(folder / "command")] == [f"images/{n:04}.png" for n in range(IMAGES)]


def test_workers_that_cannot_start_end_the_run(cluster: Any, folder: Path) -> None:
    runner = ray_runner(job(folder, "failed"), folder / "small.onnx", end_process, cluster.address, 1)
    with pytest.raises(UsageError, match="expected workers that start, but 4 ended at once"):
        run_into(folder, "failed", runner)


def test_an_address_without_a_cluster(folder: Path) -> None:
    runner = ray_runner(job(folder, "nowhere"), folder / "small.onnx", WORKER_LOAD, "nonsense")
    with pytest.raises(UsageError, match=r"--ray: expected the address of a Ray cluster .* got 'nonsense'"):
        run_into(folder, "nowhere", runner)
