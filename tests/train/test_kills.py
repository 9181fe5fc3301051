"""Runs that are killed at random moments, and resumed by the same command, end bit-equal to one never disturbed.

BLITZNET_KILLS sets the number of kills; the default is 100.
"""

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from blitznet.train.config import TrainConfig
from support.kills import kill_between_writes, require_whole_files, start_training, temporary_files, wait_until_ended
from support.training_runs import assert_equal, lines, tiny_config, toy_sets

KILLS = int(os.environ.get("BLITZNET_KILLS", "100"))
STEPS = 18
TIMES = ("images_per_second", "data_time")


def log_without_times(out: Path) -> list[dict[str, float]]:
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines(out)]


def assert_same_run(out: Path, whole: Path) -> None:
    for name in ("state.safetensors", "last.safetensors", "best.safetensors"):
        assert_equal(whole / name, out / name)
    assert log_without_times(out) == log_without_times(whole)
    assert (out / "best.txt").read_text() == (whole / "best.txt").read_text()
    assert not temporary_files(out)
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in whole.iterdir())


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_ends_bit_equal(tmp_path: Path) -> None:
    data, val = toy_sets(tmp_path)
    base = tiny_config((data,), tmp_path / "whole", val=(val,), steps=STEPS, save_every=2, eval_every=6)
    wait_until_ended(start_training(base))
    seed = random.randrange(1 << 30)
    rng, kills, chain, kills_of_chain = random.Random(seed), 0, 0, 0
    while kills < KILLS or kills_of_chain:
        config: TrainConfig = replace(base, out=tmp_path / f"chain{chain}", workers=rng.choice((0, 1, 2)))
        process = start_training(config)
        is_last = kills >= KILLS or kills_of_chain >= 20
        if not is_last and kill_between_writes(process, config.out / "log.jsonl", 8, rng):
            kills, kills_of_chain = kills + 1, kills_of_chain + 1
            (tmp_path / "summary.txt").write_text(f"{kills} kills in {chain + 1} runs, seed {seed}\n")
            require_whole_files(config.out)
            continue
        wait_until_ended(process)
        assert_same_run(config.out, base.out)
        chain, kills_of_chain = chain + 1, 0
