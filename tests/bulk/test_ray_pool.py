"""How shards are given to workers, with a stand-in for Ray whose workers end at points that a test chooses."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from blitznet.bulk import ray_runner as module
from blitznet.bulk.predict import PartJob
from blitznet.bulk.progress import ProgressMeter
from blitznet.bulk.ray_runner import ray_runner
from blitznet.bulk.run import BulkSource, BulkSummary, run_bulk
from blitznet.bulk.settings import BulkSettings
from blitznet.core.errors import DataError, UsageError
from support.bulk import MODEL, fake_predictor, read_rows, write_images


class ActorLostError(Exception):
    """Stands for Ray's error of a worker that ended."""


class TaskFailedError(ActorLostError):
    """Stands for Ray's error of a worker's own exception."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass
class FakeRay:
    """Runs each call of an actor when its result is taken, in this process."""

    processors: int = 4
    lost: Counter[int] = field(default_factory=Counter)
    """position of a shard -> workers that end while they compute it"""
    lost_starts: int = 0
    error: Exception | None = None
    calls: list[int] = field(default_factory=list)
    """positions of the shards in the order of their start"""
    running: str | None = None
    """address of the cluster that runs on this machine"""
    refusal: Exception | None = None
    addresses: list[str] = field(default_factory=list)
    """addresses of connections"""
    actors: int = 0
    killed: int = 0
    is_connected: bool = False

    def __post_init__(self) -> None:
        self.exceptions = SimpleNamespace(RayTaskError=TaskFailedError, RayError=ActorLostError)
        self._private = SimpleNamespace(services=SimpleNamespace(canonicalize_bootstrap_address=self._find_cluster))

    def _find_cluster(self, address: str) -> str:
        assert address == "auto"
        if self.running is None:
            raise ConnectionError("no cluster; pass --address")
        return self.running

    def init(self, address: str, **options: Any) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.addresses.append(address)
        self.is_connected = True

    def shutdown(self) -> None:
        self.is_connected = False

    def put(self, value: bytes) -> bytes:
        return value

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": float(self.processors)}

    def remote(self, **options: Any) -> Callable[[Any], Any]:
        assert options == {"num_cpus": 1, "max_restarts": 0}
        return lambda worker: SimpleNamespace(remote=lambda *arguments: self._actor(worker, arguments))

    def wait(self, references: Sequence[Any], *, num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return list(references[-num_returns:]), list(references[:-num_returns])  # the last to start is the first to end

    def get(self, reference: Any) -> Any:
        return reference()

    def kill(self, actor: Any) -> None:
        self.killed += 1

    def _actor(self, worker: Any, arguments: tuple[Any, ...]) -> Any:
        self.actors += 1
        instance: list[Any] = []

        def start() -> None:
            if self.lost_starts:
                self.lost_starts -= 1
                raise ActorLostError("no memory")
            instance.append(worker(*arguments))

        def write(shard: Any) -> Any:
            if self.error is not None:
                raise TaskFailedError(self.error)
            if self.lost[shard.index]:
                self.lost[shard.index] -= 1
                raise ActorLostError("killed")
            return instance[0].write(shard)

        def remote_write(shard: Any) -> Callable[[], Any]:
            self.calls.append(shard.index)
            return lambda: write(shard)

        ready = SimpleNamespace(remote=lambda: start)
        return SimpleNamespace(ready=ready, write=SimpleNamespace(remote=remote_write))


def run(ray: FakeRay, folder: Path, monkeypatch: pytest.MonkeyPatch, *, address: str = "local") -> BulkSummary:
    """Predict ten images in parts of one."""
    monkeypatch.setattr(module, "_import_ray", lambda: ray)
    write_images(folder / "images", 10)
    (folder / "small.onnx").write_bytes(b"model")
    job = PartJob(MODEL, BulkSettings(), str(folder / "out"))
    runner = ray_runner(job, folder / "small.onnx", lambda path: fake_predictor(), address)
    return run_bulk(BulkSource((str(folder / "images"),), 1), job, runner, ProgressMeter())


def ids(folder: Path) -> list[str]:
    return [Path(row["id"]).stem for row in read_rows(folder / "out")]


def test_one_processor_is_left_to_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay(processors=4)
    assert run(ray, tmp_path, monkeypatch) == BulkSummary(10, 10, 0, 10)
    assert (ray.actors, ray.killed, ray.is_connected) == (3, 0, False)
    assert ids(tmp_path) == [f"{number:04}" for number in range(10)]


def test_shards_of_lost_workers_are_computed_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay(lost=Counter({2: 3, 5: 1, 9: 2}))
    assert run(ray, tmp_path, monkeypatch) == BulkSummary(10, 10, 0, 10)
    assert Counter(ray.calls) == Counter([*range(10), 2, 2, 2, 5, 9, 9])
    assert ray.killed == 6
    assert ids(tmp_path) == [f"{number:04}" for number in range(10)]


def test_a_shard_that_ends_its_workers_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay(lost=Counter({2: 4}))
    with pytest.raises(DataError, match=r"images/0002.png: 4 workers ended while they predicted 1 files"):
        run(ray, tmp_path, monkeypatch)
    assert not ray.is_connected


def test_workers_that_end_at_their_start_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(FakeRay(lost_starts=3), tmp_path, monkeypatch).predicted == 10


def test_workers_that_never_start_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="expected workers that start, but 4 ended at once \\(no memory\\)"):
        run(FakeRay(lost_starts=99), tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("error", "message"),
    [(UsageError("out: disk full"), "^out: disk full$"), (ValueError("bad\nvalue"), r"a worker failed: ValueError")],
)
def test_errors_of_workers_are_one_line(
    error: Exception, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        run(FakeRay(error=error), tmp_path, monkeypatch)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "environment", "running", "checked"),
    [
        ("host:1", "", None, ["host:1"]),
        ("ray://host:1", "", None, ["ray://host:1"]),
        ("auto", "host:2", "host:3", ["host:2"]),
        ("auto", "", "host:3", ["host:3"]),
        ("auto", "local", "host:3", []),
        ("local", "host:2", "host:3", []),
    ],
)
def test_addresses_are_checked_before_ray_connects(
    address: str,
    environment: str,
    running: str | None,
    checked: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    addresses: list[str] = []
    monkeypatch.setattr(module, "require_cluster", addresses.append)
    monkeypatch.setenv("RAY_ADDRESS", environment)
    ray = FakeRay(running=running)
    assert run(ray, tmp_path, monkeypatch, address=address).predicted == 10
    assert (addresses, ray.addresses) == (checked, [address])


def test_auto_without_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UsageError, match=r"--ray: expected .* got 'auto' \(no cluster runs on this machine\)"):
        run(FakeRay(), tmp_path, monkeypatch, address="auto")


def test_a_cluster_that_ray_cannot_connect_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "require_cluster", lambda address: None)
    ray = FakeRay(refusal=ConnectionError("other\nversion"))
    with pytest.raises(UsageError, match=r"--ray: expected .* got 'host:1' \(other version\)"):
        run(ray, tmp_path, monkeypatch, address="host:1")
