"""Rates as functions of the step."""

import math
from itertools import pairwise

import pytest

from blitznet.train.config import TrainConfig
from blitznet.train.recipes import recipe
from blitznet.train.schedule import ema_decay, learning_rate


@pytest.mark.parametrize(
    ("step", "expected"),
    [(1, 1e-4), (35_000, 1e-4), (35_001, 1e-5), (50_000, 1e-5), (50_001, 1e-6), (65_000, 1e-6)],
)
def test_drops_count_strictly_after_their_step(step: int, expected: float) -> None:
    config = recipe("table1-300-s4").config
    assert config.drops == (35_000, 50_000)
    assert learning_rate(config, step) == pytest.approx(expected, rel=1e-9)


def test_the_cosine_rises_falls_and_ends() -> None:
    config = TrainConfig(lr=2.0, steps=110, warmup=10, final_lr=0.1)
    rates = [learning_rate(config, step) for step in range(1, 111)]
    assert rates[:10] == pytest.approx([0.2 * step for step in range(1, 11)])
    assert rates[59] == pytest.approx(2.0 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.5))))
    assert rates[-1] == pytest.approx(0.2)
    assert all(later < earlier for earlier, later in pairwise(rates[9:]))
    assert learning_rate(config, 500) == pytest.approx(0.2)


def test_warm_up_comes_before_drops() -> None:
    config = TrainConfig(lr=1.0, schedule="drops", drops=(5,), warmup=4)
    assert [learning_rate(config, step) for step in range(1, 8)] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 0.1, 0.1])


def test_the_average_forgets_its_start() -> None:
    config = TrainConfig(ema=0.9)
    assert ema_decay(config, 1) == pytest.approx(2 / 11)
    assert ema_decay(config, 1000) == 0.9
