"""Schedules as functions of the step: nothing to save, nothing to restore wrongly."""

import math

from blitznet.train.config import TrainConfig


def learning_rate(config: TrainConfig, step: int) -> float:
    """The learning rate of update `step`, counted from 1 (a drop counts strictly after its step)."""
    if step <= config.warmup:
        return config.lr * step / config.warmup
    if config.schedule == "drops":
        return config.lr * 0.1 ** sum(step > drop for drop in config.drops)
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    wave = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return config.lr * (config.final_lr + (1 - config.final_lr) * wave)


def ema_decay(config: TrainConfig, step: int) -> float:
    """How much of the average is kept at update `step`: short at first, so that the start is forgotten."""
    return min(config.ema, (1 + step) / (10 + step))
