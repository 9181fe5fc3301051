"""Parts on a Ray cluster: one actor for each processor holds the model. The only file that imports Ray.

A unit of work is a whole part, and the parts in the output folder are the truth. So a lost worker or machine costs its
parts in progress, which other workers compute, and nothing needs to be kept in the cluster. The driver reads the
source, which takes one processor.

Ray Data is not used. Its pool repeats a part that ends its workers for ever and does not name it. It does the same
with a worker that ends at its start. A limit (`max_task_retries`) counts failed connections to a lost machine too, so
one loss ended a run, and Ray 2.64 will remove it. `docs/explanation/scale.md` has the figures.
"""

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from blitznet.bulk.cluster_address import address_error, require_cluster
from blitznet.bulk.parquet import PartSummary
from blitznet.bulk.predict import PartJob, write_part
from blitznet.bulk.run import Finished, Runner
from blitznet.bulk.shards import Shard
from blitznet.core.errors import BlitzNetError, DataError, MissingExtra, UsageError
from blitznet.runtime.predictor import BasePredictor

LoadModel = Callable[[Path], BasePredictor]
"""loads a model file with one thread, in a worker"""

_MAX_ATTEMPTS = 4
"""workers that may end while they compute a part, before the part is taken for the cause"""
_WAIT_SECONDS = 1.0
"""interval at which machines that joined or left are counted"""


def ray_runner(job: PartJob, model: Path, load: LoadModel, address: str, workers: int | None = None) -> Runner:
    """A runner on a Ray cluster.

    Args:
        job: The model, settings and output folder, which all machines must reach under the same path or URL.
        model: The model's file; its content is sent to the workers.
        load: Loads the file there.
        address: Address of the cluster, `auto` for the one of this machine, or `local` to start one here.
        workers: Number of workers. Default: one for each processor, without one that reads the source.

    Raises:
        MissingExtra: Ray is not installed.
        UsageError: The cluster cannot be reached.
    """
    ray = _import_ray()

    def run(shards: Iterator[Shard]) -> Iterator[Finished]:
        _connect(ray, address, workers)
        try:
            content = ray.put(model.read_bytes())
            yield from _Pool(ray, job, content, model.suffix, load, workers).run(shards)
        finally:
            ray.shutdown()

    return run


class _PartWorker:
    """Holds the model and writes parts; runs in a process of the cluster with one processor."""

    def __init__(self, job: PartJob, model: bytes, suffix: str, load: LoadModel, working_folder: str) -> None:
        with suppress(OSError):  # relative paths of the source are relative to the driver's folder
            os.chdir(working_folder)
        self._job = job
        with TemporaryDirectory(prefix="blitznet-") as folder:
            path = Path(folder) / f"{job.model.name}{suffix}"
            path.write_bytes(model)
            self._predictor = load(path)

    def ready(self) -> None:
        """Return when the model is loaded."""

    def write(self, shard: Shard) -> PartSummary | str:
        """Write the part of a shard; the text of an error that a user can cause."""
        try:
            return write_part(shard, self._job, self._predictor)
        except BlitzNetError as error:
            return str(error)


@dataclass(eq=False)
class _Pool:
    """The actors of a run and what each of them does."""

    ray: ModuleType
    job: PartJob
    model: Any
    """reference of the model's bytes"""
    suffix: str
    load: LoadModel
    workers: int | None
    starting: dict[Any, Any] = field(default_factory=dict)
    """reference of `ready` -> actor"""
    idle: deque[Any] = field(default_factory=deque)
    busy: dict[Any, tuple[Any, Shard]] = field(default_factory=dict)
    """reference of a result -> its actor and shard"""
    waiting: deque[Shard] = field(default_factory=deque)
    """shards whose worker was lost"""
    attempts: Counter[int] = field(default_factory=Counter)
    """lost workers of each shard"""
    failed_starts: int = 0
    """workers that ended before they were ready, since the last that was"""

    def __post_init__(self) -> None:
        self._worker = self.ray.remote(num_cpus=1, max_restarts=0)(_PartWorker)

    def run(self, shards: Iterator[Shard]) -> Iterator[Finished]:
        """Compute the parts; each result is yielded as it comes."""
        is_end = False
        while not (is_end and not self.waiting and not self.busy):
            self._start_workers()
            while self.idle and not (is_end and not self.waiting):
                shard = self.waiting.popleft() if self.waiting else next(shards, None)
                if shard is None:
                    is_end = True
                else:
                    actor = self.idle.popleft()
                    self.busy[actor.write.remote(shard)] = (actor, shard)
            references = [*self.starting, *self.busy]
            done, _ = self.ray.wait(references, num_returns=1, timeout=_WAIT_SECONDS) if references else ([], [])
            for reference in done:
                yield from self._receive(reference)

    def _start_workers(self) -> None:
        """Have as many actors as processors are there for them; those that cannot start any more are dropped."""
        goal = self._goal()
        for reference in list(self.starting)[max(0, goal - len(self.idle) - len(self.busy)) :]:
            self.ray.kill(self.starting.pop(reference))
        for _ in range(goal - len(self.starting) - len(self.idle) - len(self.busy)):
            actor = self._worker.remote(self.job, self.model, self.suffix, self.load, str(Path.cwd()))
            self.starting[actor.ready.remote()] = actor

    def _goal(self) -> int:
        processors = int(self.ray.cluster_resources().get("CPU", 0))
        available = max(1, processors - 1)
        return available if self.workers is None else min(self.workers, max(1, processors))

    def _receive(self, reference: Any) -> Iterator[Finished]:
        """Take the result of an actor that started or wrote a part, or note that it is lost."""
        actor, shard = self.busy.pop(reference, None) or (self.starting.pop(reference), None)
        try:
            result = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            raise _task_error(error) from error
        except self.ray.exceptions.RayError as error:  # the worker or its machine is lost
            self.ray.kill(actor)
            self._lose(shard, error)
            return
        if isinstance(result, str):
            raise DataError(result)
        self.idle.append(actor)
        self.failed_starts = 0
        if shard is not None:
            yield shard, result

    def _lose(self, shard: Shard | None, error: Exception) -> None:
        """Note that a worker is lost, with the shard that it was at work on."""
        reason = " ".join(str(error).split())[:200]
        if shard is None:
            self.failed_starts += 1
            if self.failed_starts == _MAX_ATTEMPTS:
                raise UsageError(f"--ray: expected workers that start, but {_MAX_ATTEMPTS} ended at once ({reason})")
            return
        self.attempts[shard.index] += 1
        if self.attempts[shard.index] == _MAX_ATTEMPTS:
            raise DataError(
                f"{shard.name}: {_MAX_ATTEMPTS} workers ended while they predicted {len(shard.files)} files from this "
                f"one on ({reason}); predict them with a smaller --shard-size to find the file"
            )
        self.waiting.append(shard)


def _task_error(error: Any) -> BlitzNetError:
    """The error of a worker: one that a user can cause, or an unexpected one in a line."""
    cause = getattr(error, "cause", error)
    reason = str(cause) if isinstance(cause, BlitzNetError) else " ".join(f"a worker failed: {cause!r}".split())[:300]
    return DataError(reason)


def _connect(ray: ModuleType, address: str, workers: int | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report its use over the network
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    resolved = _resolve(ray, address)
    if resolved == "local":
        options |= {"include_dashboard": False, "num_cpus": None if workers is None else workers + 1}
    elif resolved != "auto":
        require_cluster(resolved)
    try:
        ray.init(address=address, **options)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise address_error(address, str(error)) from error


def _resolve(ray: ModuleType, address: str) -> str:
    """The address that `auto` stands for, or `auto` if only Ray can tell; another address as it is."""
    if address != "auto":
        return address
    if from_environment := os.environ.get("RAY_ADDRESS"):
        return from_environment
    try:
        return str(ray._private.services.canonicalize_bootstrap_address(address))
    except AttributeError:  # the function is not public
        return address
    except ConnectionError as error:
        raise address_error(address, "no cluster runs on this machine") from error


def _import_ray() -> ModuleType:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingExtra("--ray", "ray") from error
    module: ModuleType = ray
    return module
