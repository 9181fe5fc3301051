import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.serve import attacks
from benchmarks.serve.attackers import ATTACKS, Plan
from benchmarks.serve.attacks import Options, Row, make_goals, make_table
from benchmarks.serve.http_client import CLOSED, Target
from benchmarks.serve.witness import RunningServer, observe
from blitznet.runtime.predictor import Predictor
from blitznet.serve.limits import ServeLimits
from support.cli_datasets import write_model
from support.fake_engines import FakeEngine, random_outputs
from support.images import encode_random_image
from support.servers import run_server

IMAGE = encode_random_image(file_format="JPEG")
LIMITS = ServeLimits(timeout=0.3, max_queue=2, max_images=1, max_connections=12)
ROW = Row(
    attack="flood, HTTP",
    statuses={"200": 10, "429": 90},
    health_p99_ms=5.0,
    health_max_ms=20.0,
    failed_health=0,
    honest_accepted=0.5,
    accepted_p99_s=0.4,
    queue_s=0.3,
    refusal_p99_ms=10.0,
    wasted=0,
    before_mb=100.0,
    peak_mb=140.0,
    after_mb=104.0,
    settle_s=1.0,
    log_kb=0.0,
    flood=10.0,
)


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("slow headers", {408, CLOSED}),
        ("slow bodies", {408, 429, CLOSED}),
        ("idle connections", {408, CLOSED}),
        ("HTTP headers", {400, 408, 413, 429, 431, CLOSED}),
        ("flood, HTTP", {200, 429, 503}),
        ("flood, WebSocket", {200, 429, 503, CLOSED}),
    ],
)
def test_an_attack_meets_the_limits(name: str, statuses: set[int]) -> None:
    with run_server(Predictor(FakeEngine(random_outputs(4))), LIMITS) as (_, port):
        for seconds in (0.6, 2.0, 6.0, 18.0):  # more on a busy machine
            plan = Plan(Target("127.0.0.1", port, "small"), seconds, IMAGE, clients=6)
            outcome = asyncio.run(attacks.call_attack(name, plan))
            met = set(outcome.tally.statuses)
            if met - {CLOSED} and (outcome.capacity or not name.startswith("flood")):
                break
    assert met <= statuses
    assert met - {CLOSED}
    assert (outcome.capacity is not None) == name.startswith("flood")
    assert (outcome.offered is not None) == name.startswith("flood")


def test_the_witness_measures_health_and_honest_clients(tmp_path: Path) -> None:
    async def run(server: RunningServer) -> None:
        done = asyncio.Event()
        asyncio.get_running_loop().call_later(0.5, done.set)
        observation = await observe(server, IMAGE, done)
        assert observation.health
        assert observation.failed_health == 0
        assert set(observation.honest.statuses) <= {200, 429, 503}
        assert observation.peak_mb > 10

    with run_server(Predictor(FakeEngine(random_outputs(4)))) as (_, port):
        server = RunningServer(Target("127.0.0.1", port, "small"), os.getpid(), 64, tmp_path)
        asyncio.run(run(server))
        assert server.metric("blitznet_queue_capacity") == 64


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({}, 0),
        ({"health_max_ms": 101.0}, 1),
        ({"failed_health": 1}, 1),
        ({"statuses": {"200": 1, "500": 1}}, 1),
        ({"statuses": {"200": 1, "closed": 1, "503": 2, "408": 2}}, 0),
        ({"accepted_p99_s": 0.61}, 1),
        ({"refusal_p99_ms": 101.0}, 1),
        ({"wasted": 1}, 1),
        ({"wasted": 1, "attack": "unread answers"}, 0),
        ({"after_mb": 106.0}, 1),
        ({"log_kb": 101.0}, 1),
    ],
)
def test_each_goal_can_be_missed(change: dict[str, object], missed: int) -> None:
    goals = make_goals([ROW, replace(ROW, **change)])  # type: ignore[arg-type]
    assert sum(not goal.met for goal in goals) == missed


def test_the_table_has_a_row_for_each_attack() -> None:
    table = make_table([ROW, replace(ROW, flood=None, queue_s=None, refusal_p99_ms=None)])
    assert [row[0] for row in table.rows] == ["flood, HTTP, 10.0x", "flood, HTTP"]
    assert table.rows[0][1] == "200:10 429:90"


@pytest.mark.slow
def test_a_server_survives_every_attack(tmp_path: Path) -> None:
    model, report = write_model(str(tmp_path / "small.onnx")), tmp_path / "attacks.json"
    rows = attacks.main(Options(seconds=2, settle=10, model=model, engine="onnxruntime", json=report))
    assert [row.attack for row in rows] == list(ATTACKS)
    for row in rows:
        assert all(attacks.is_expected(status) for status in row.statuses), row
        assert row.failed_health == 0, row
        assert row.wasted == 0 or row.attack in attacks.UNREAD, row
        assert row.log_kb < attacks.MAX_LOG_KB, row
        assert row.after_mb < row.before_mb + 200, row
    assert len(json.loads(report.read_text())["rows"]) == len(ATTACKS)
