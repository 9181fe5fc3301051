"""The server under attack: health, statuses, honest clients and memory.

Each attack has a `blitznet serve` of its own, in its own process. Clients in a second process attack it. The witness
in this process checks the health with a new connection 20 times per second and is four honest clients.

`python -m benchmarks.serve.attacks --json attacks.json`
"""

import asyncio
import os
import resource
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import tyro

from benchmarks._lib.results import Goal, Table, at_most, notify, print_results, write_json
from benchmarks.serve.attackers import ATTACKS, Outcome, Plan
from benchmarks.serve.http_client import CLOSED, Tally
from benchmarks.serve.witness import Observation, RunningServer, observe, start_server
from blitznet.core.models import DEFAULT
from blitznet.runtime.engine import EngineName
from blitznet.runtime.image_paths import SAMPLES

MAX_FILES = {"idle connections": 256}
"""limit of open files of the server, fewer than the clients"""
UNREAD = ("unread answers",)
"""attacks whose clients leave without reading results; these are wasted, but no request was refused"""
MAX_HEALTH_MS, MAX_REFUSAL_MS, MAX_WAIT, MAX_GROWTH, MAX_LOG_KB = 100.0, 100.0, 2.0, 1.05, 100.0
"""goals"""
_WARM_UP = 5.0
"""seconds of honest clients before the memory is first measured"""
_NICE = 10
"""priority of the attackers: they would have their own machines"""


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    seconds: float = 30.0
    """Duration of each attack. Default: 30."""
    settle: float = 20.0
    """Seconds within which the memory must be back. Default: 20."""
    only: tuple[str, ...] = ()
    """Names of the attacks, as in the table. Default: all."""
    image: Path = SAMPLES / "astronaut.jpg"
    """Image that honest clients and floods send. Default: a sample image."""
    clients: int | None = None
    """Number of attacking clients. Default: that of each attack."""
    model: str = DEFAULT
    """Model of the server. Default: blitznet300-lite."""
    engine: EngineName = "auto"
    """Engine of the server. Default: auto."""
    json: Path | None = None
    """Write the results to this file."""


@dataclass(frozen=True, slots=True)
class Row:
    """One attack."""

    attack: str
    statuses: dict[str, int]
    """of the attackers and the honest clients; `closed` is a connection that the server closed without a response"""
    health_p99_ms: float
    health_max_ms: float
    failed_health: int
    honest_accepted: float
    """fraction of the honest requests with status 200"""
    accepted_p99_s: float | None
    """of the honest clients"""
    queue_s: float | None
    """time of a full queue at the rate of the flood; None for other attacks"""
    refusal_p99_ms: float | None
    """of the honest clients"""
    wasted: int
    """images that went through the network, and whose results were sent to nobody"""
    before_mb: float
    peak_mb: float
    after_mb: float
    settle_s: float
    """until the memory was back"""
    log_kb: float
    flood: float | None
    """offered images per second as a multiple of the capacity"""


def run_attack(name: str, plan: Plan) -> Outcome:
    """Attack; called in the attackers' process."""
    os.nice(_NICE)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    return asyncio.run(call_attack(name, plan))


async def call_attack(name: str, plan: Plan) -> Outcome:
    """Attack."""
    return await ATTACKS[name](plan)


def measure(name: str, options: Options) -> Row:
    """One attack on a new server."""
    image = options.image.read_bytes()
    with start_server(["--model", options.model, "--engine", options.engine], max_files=MAX_FILES.get(name)) as server:
        asyncio.run(_observe_for(server, image, min(_WARM_UP, options.seconds)))
        before, counts = server.memory_mb(), _image_counts(server)
        plan = Plan(server.target, options.seconds, image, options.clients)
        outcome, observation = asyncio.run(_attack(name, plan, server))
        settle_s, after = _settle(server, before, options.settle)
        computed, delivered = (end - begin for end, begin in zip(_image_counts(server), counts, strict=True))
        log_kb = server.log.stat().st_size / 1000
    honest, health_ms = observation.honest, 1000 * np.array(observation.health)
    return Row(
        attack=name,
        statuses=_statuses(outcome.tally, honest),
        health_p99_ms=float(np.percentile(health_ms, 99)),
        health_max_ms=float(health_ms.max()),
        failed_health=observation.failed_health,
        honest_accepted=honest.statuses[200] / max(1, sum(honest.statuses.values())),
        accepted_p99_s=_p99(honest.accepted),
        queue_s=_queue_seconds(server.max_queue, outcome, observation),
        refusal_p99_ms=None if (late := _p99(honest.refusals)) is None else 1000 * late,
        wasted=round(computed - delivered),
        before_mb=before,
        peak_mb=observation.peak_mb,
        after_mb=after,
        settle_s=settle_s,
        log_kb=log_kb,
        flood=outcome.offered / outcome.capacity if outcome.offered and outcome.capacity else None,
    )


def _queue_seconds(max_queue: int, outcome: Outcome, observation: Observation) -> float | None:
    """Time of a full queue at the rate of a flood; None for other attacks."""
    if not outcome.accepted:
        return None
    return max_queue / (outcome.accepted + observation.honest.statuses[200] / observation.seconds)


async def _attack(name: str, plan: Plan, server: RunningServer) -> tuple[Outcome, Observation]:
    """Attack, and observe meanwhile."""
    done = asyncio.Event()
    observing = asyncio.create_task(observe(server, plan.image, done))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            outcome = await asyncio.get_running_loop().run_in_executor(pool, run_attack, name, plan)
        finally:
            done.set()
            observation = await observing
    return outcome, observation


async def _observe_for(server: RunningServer, image: bytes, seconds: float) -> None:
    done = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, done.set)
    await observe(server, image, done)


def _settle(server: RunningServer, before: float, limit: float) -> tuple[float, float]:
    """Seconds until the memory is back, at most the limit, and the memory then."""
    start = time.monotonic()
    while (memory := server.memory_mb()) > MAX_GROWTH * before and time.monotonic() < start + limit:
        time.sleep(0.25)
    return time.monotonic() - start, memory


def _image_counts(server: RunningServer) -> tuple[float, float]:
    """Images that went through the network, and those whose results were sent."""
    return server.metric("blitznet_network_images_total"), server.metric("blitznet_images_total")


def _statuses(*tallies: Tally) -> dict[str, int]:
    total: Counter[int] = Counter()
    for tally in tallies:
        total += tally.statuses
    return {"closed" if status == CLOSED else str(status): total[status] for status in sorted(total)}


def _p99(seconds: list[float]) -> float | None:
    return float(np.percentile(seconds, 99)) if seconds else None


def make_table(rows: list[Row]) -> Table:
    """The attacks, one a row."""
    columns = ("attack", "statuses", "health ms p99 / max", "honest 200", "accepted p99 s / queue s", "refusal ms")
    return Table(
        "blitznet serve under attack",
        (*columns, "wasted", "memory MB before / peak / after", "log kB"),
        [
            (
                row.attack + ("" if row.flood is None else f", {row.flood:.1f}x"),
                " ".join(f"{status}:{count}" for status, count in row.statuses.items()),
                f"{row.health_p99_ms:.0f} / {row.health_max_ms:.0f}",
                f"{100 * row.honest_accepted:.0f} %",
                f"{_text(row.accepted_p99_s, 2)} / {_text(row.queue_s, 2)}",
                _text(row.refusal_p99_ms, 0),
                str(row.wasted),
                f"{row.before_mb:.0f} / {row.peak_mb:.0f} / {row.after_mb:.0f}",
                f"{row.log_kb:.0f}",
            )
            for row in rows
        ],
        (
            "Statuses of all clients. Times and fractions are those of four honest clients with an image each 0.1 s.",
            f"The clients share the processors with the server; the attackers run at nice {_NICE}.",
        ),
    )


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def make_goals(rows: list[Row]) -> list[Goal]:
    """The goals, each over all attacks."""
    waits = [row.accepted_p99_s / row.queue_s for row in rows if row.accepted_p99_s and row.queue_s]
    refusals = [row.refusal_p99_ms for row in rows if row.refusal_p99_ms is not None]
    statuses = Counter(status for row in rows for status in row.statuses if not is_expected(status))
    return [
        at_most("slowest /healthz", max(row.health_max_ms for row in rows), MAX_HEALTH_MS, " ms"),
        at_most("failed /healthz", sum(row.failed_health for row in rows), 0),
        at_most("statuses other than 200, 4xx and 503", sum(statuses.values()), 0),
        at_most(
            "p99 of accepted requests in a flood, as a multiple of the queue's time", max(waits, default=0), MAX_WAIT
        ),
        at_most("p99 of refusals (429, 503)", max(refusals, default=0), MAX_REFUSAL_MS, " ms"),
        at_most(
            "images of refused requests that were computed",
            sum(row.wasted for row in rows if row.attack not in UNREAD),
            0,
        ),
        at_most("memory after an attack, as a multiple", max(row.after_mb / row.before_mb for row in rows), MAX_GROWTH),
        at_most("log of an attack", max(row.log_kb for row in rows), MAX_LOG_KB, " kB"),
    ]


def is_expected(status: str) -> bool:
    """Whether a server that defends itself may answer with a status."""
    return status in ("closed", "200", "503") or status.startswith("4")


def main(options: Options) -> list[Row]:
    """Run the attacks; print and write."""
    rows = []
    for name in options.only or ATTACKS:
        notify(name)
        rows.append(measure(name, options))
        notify("  " + ("; ".join(goal.line() for goal in make_goals(rows[-1:]) if not goal.met) or "all goals met"))
    table, goals = make_table(rows), make_goals(rows)
    print_results([table], goals)
    write_json(options.json, options, rows=rows, tables=[table], goals=goals)
    return rows


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
