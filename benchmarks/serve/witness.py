"""A server in its own process, and a witness that measures it while others attack: health, honest clients, memory."""

import asyncio
import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit
from urllib.request import urlopen

from benchmarks.serve.http_client import Client, Reply, Tally, Target

HONEST_CLIENTS = 4
_HONEST_PAUSE = 0.1
"""seconds between the requests of an honest client"""
_HEALTH_PAUSE = 0.05
"""seconds between two health checks"""
_MEMORY_PAUSE = 0.25
_START_TIMEOUT = 120.0
"""seconds until the server must be ready"""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that is ready."""

    target: Target
    pid: int
    max_queue: int
    log: Path

    def memory_mb(self) -> float:
        """Resident memory."""
        match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert match is not None
        return int(match.group(1)) / 1024

    def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        with urlopen(f"{self._address}/metrics", timeout=60) as response:
            match = re.search(rf"^{name} (\S+)$", response.read().decode(), re.MULTILINE)
        assert match is not None, name
        return float(match.group(1))

    @property
    def _address(self) -> str:
        return f"http://{self.target.host}:{self.target.port}"


@dataclass
class Observation:
    """What the witness saw."""

    health: list[float] = field(default_factory=list)
    """seconds of each health check, on a connection of its own"""
    failed_health: int = 0
    """health checks without status 200"""
    honest: Tally = field(default_factory=Tally)
    """responses to honest clients"""
    peak_mb: float = 0.0
    """maximum resident memory"""
    seconds: float = 0.0
    """duration"""


@contextmanager
def start_server(flags: Sequence[str], *, max_files: int | None = None) -> Iterator[RunningServer]:
    """Start `blitznet serve`, wait until it is ready, and end it.

    Args:
        flags: Further flags of the command.
        max_files: Limit of the process's open files. None: that of this process.
    """
    words = [sys.executable, "-m", "blitznet", "serve", "--port", "0", *flags]

    def limit_files() -> None:
        if max_files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max_files, max_files))

    with TemporaryDirectory() as folder, Path(folder, "log").open("w") as log:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True, preexec_fn=limit_files)
        try:
            assert process.stdout is not None
            match = re.search(r"http://\S+", process.stdout.readline())
            assert match is not None, Path(log.name).read_text()
            yield _when_ready(match.group(0), process.pid, Path(log.name))
        finally:
            process.terminate()
            process.wait(60)
            assert process.stdout is not None
            process.stdout.close()


def _when_ready(address: str, pid: int, log: Path) -> RunningServer:
    parts = urlsplit(address)
    assert parts.hostname is not None
    assert parts.port is not None
    deadline = time.monotonic() + _START_TIMEOUT
    with urlopen(f"{address}/v1/model", timeout=60) as response:
        model = json.load(response)
    server = RunningServer(Target(parts.hostname, parts.port, model["name"]), pid, model["limits"]["max_queue"], log)
    while not server.metric("blitznet_ready"):
        assert time.monotonic() < deadline, "the server does not become ready"
        time.sleep(0.1)
    return server


async def observe(server: RunningServer, image: bytes, done: asyncio.Event) -> Observation:
    """Measure until the event: health checks, honest clients, and memory."""
    observation, start = Observation(), time.monotonic()

    async def check_health() -> None:
        while not done.is_set():
            reply = await _once(server.target)
            observation.health.append(reply.seconds)
            observation.failed_health += reply.status != 200
            await asyncio.sleep(_HEALTH_PAUSE)

    async def be_honest() -> None:
        client = Client(server.target)
        while not done.is_set():
            observation.honest.add(await client.request(server.target.post("/v1/predict", image)))
            await asyncio.sleep(_HONEST_PAUSE)
        client.close()

    async def watch_memory() -> None:
        while not done.is_set():
            observation.peak_mb = max(observation.peak_mb, server.memory_mb())
            await asyncio.sleep(_MEMORY_PAUSE)

    await asyncio.gather(check_health(), watch_memory(), *(be_honest() for _ in range(HONEST_CLIENTS)))
    observation.seconds = time.monotonic() - start
    return observation


async def _once(target: Target) -> Reply:
    client = Client(target)
    try:
        return await client.request(target.get("/healthz", "Connection: close"))
    finally:
        client.close()
