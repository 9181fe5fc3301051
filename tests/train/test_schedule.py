"""Learning rate and EMA decay as functions of the step."""

import math
from itertools import pairwise

import pytest

from blitznet.paper.recipes import paper_recipe
from blitznet.train.config import TrainConfig
from blitznet.train.schedule import ema_decay, learning_rate


@pytest.mark.parametrize(
    ("step", "expected"),
    [(1, 1e-4), (35_000, 1e-4), (35_001, 1e-5), (50_000, 1e-5), (50_001, 1e-6), (65_000, 1e-6)],
)
def test_milestone_takes_effect_on_the_next_step(step: int, expected: float) -> None:
    config = paper_recipe("table1-300-s4").config
    assert config.milestones == (35_000, 50_000)
    assert learning_rate(config, step) == pytest.approx(expected, rel=1e-9)


def test_cosine_with_warmup() -> None:
    config = TrainConfig(lr=2.0, steps=110, warmup=10, final_lr_mult=0.1)
    rates = [learning_rate(config, step) for step in range(1, 111)]
    assert rates[:10] == pytest.approx([0.2 * step for step in range(1, 11)])
    assert rates[59] == pytest.approx(2.0 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.5))))
    assert rates[-1] == pytest.approx(0.2)
    assert all(later < earlier for earlier, later in pairwise(rates[9:]))
    assert learning_rate(config, 500) == pytest.approx(0.2)


def test_warmup_comes_before_milestones() -> None:
    config = TrainConfig(lr=1.0, schedule="multistep", milestones=(5,), warmup=4)
    assert [learning_rate(config, step) for step in range(1, 8)] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 0.1, 0.1])


def test_ema_decay_is_small_at_first() -> None:
    assert ema_decay(0.9, 1) == pytest.approx(2 / 11)
    assert ema_decay(0.9, 1000) == 0.9
