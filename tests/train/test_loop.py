"""The run: killed at any moment and resumed equals never killed, and what stands in its folder."""

import json
import os
import random
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
import toy
from blitznet.core.errors import DataError, UsageError
from blitznet.nets.blitznet import build
from blitznet.nets.files import load_model, save_model
from blitznet.train import loop, start
from blitznet.train.interrupts import Stopped
from blitznet.train.loop import train
from blitznet.train.step import NonFiniteLossError
from train.runs import assert_equal, lines, own_process, tiny_config, toy_sets, weights

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:.*is multi-threaded, use of fork:DeprecationWarning"),
]
FILES = ("state.safetensors", "last.safetensors")


@pytest.fixture(autouse=True)
def _tiny() -> None:
    tiny.register()


@pytest.fixture
def sets(tmp_path: Path) -> tuple[str, str]:
    return toy_sets(tmp_path)


def steps_of(out: Path) -> list[float]:
    return [line["step"] for line in lines(out) if "loss/total" in line]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="adamw"),
        pytest.param({"workers": 2, "optimizer": "adam", "ema": 0.0}, id="adam, 2 workers, no average"),
        pytest.param(
            {"optimizer": "nesterov", "accumulate": 2, "precision": "bfloat16"}, id="nesterov, parts, bfloat16"
        ),
        pytest.param({"model": "tiny-lite", "freeze_statistics": True, "repeat": 0.5}, id="lite, frozen, repeats"),
    ],
)
def test_stopped_between_checkpoints_and_resumed_equals_never_stopped(
    sets: tuple[str, str], tmp_path: Path, changes: dict[str, Any]
) -> None:
    whole = tiny_config(sets[:1], tmp_path / "whole", **changes)
    train(whole)
    cut = replace(whole, out=tmp_path / "cut")
    train(cut, stop_after=5)  # the last state is of step 3
    assert steps_of(cut.out) == [1, 2, 3, 4, 5]
    train(replace(cut, workers=1 - min(cut.workers, 1)), stop_after=7)
    train(cut)
    assert steps_of(cut.out) == list(range(1, 9))
    for name in FILES:
        assert_equal(whole.out / name, cut.out / name)
    mine, theirs = lines(whole.out), lines(cut.out)
    for first, second in zip(mine, theirs, strict=True):
        assert {k: v for k, v in first.items() if k.startswith("loss/")} == {
            k: v for k, v in second.items() if k.startswith("loss/")
        }


def kill_somewhere(config: Any, *, least: int, rng: random.Random) -> None:
    """Start the run in a process of its own and kill it at a random moment after `least` lines of its log."""
    process = own_process(config)
    log = config.out / "log.jsonl"
    while process.poll() is None and (not log.exists() or log.read_text().count("\n") < least):
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.3))
    process.kill()
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors


def test_killed_at_a_random_moment_and_resumed_equals_never_killed(sets: tuple[str, str], tmp_path: Path) -> None:
    whole = tiny_config(sets[:1], tmp_path / "whole", val=sets[1:], steps=40, save_every=2, eval_every=20)
    train(whole)
    cut = replace(whole, out=tmp_path / "cut", steps=4000, schedule="drops")
    cut = replace(whole, out=tmp_path / "cut")
    kill_somewhere(cut, least=5, rng=random.Random(os.getpid()))
    assert max(steps_of(cut.out)) <= 40
    train(cut)
    assert steps_of(cut.out) == list(range(1, 41))
    assert [line["step"] for line in lines(cut.out) if "score/ap50" in line] == [20, 40]
    for name in (*FILES, "best.safetensors"):
        assert_equal(whole.out / name, cut.out / name)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_many_times_and_resumed_equals_never_killed(sets: tuple[str, str], tmp_path: Path, workers: int) -> None:
    whole = tiny_config(sets[:1], tmp_path / "whole", val=sets[1:], steps=150, eval_every=25, workers=workers)
    train(whole)
    cut = replace(whole, out=tmp_path / "cut")
    rng = random.Random(workers)
    for least in (3, 20, 55, 90):
        kill_somewhere(cut, least=least, rng=rng)
    train(cut)
    assert steps_of(cut.out) == list(range(1, 151))
    for name in (*FILES, "best.safetensors"):
        assert_equal(whole.out / name, cut.out / name)
