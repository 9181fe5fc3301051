"""Learning rate and EMA decay as functions of the step number; they have no state."""

import math

from blitznet.train.config import TrainConfig


def learning_rate(config: TrainConfig, step: int) -> float:
    """Learning rate of a step, counted from 1; a milestone takes effect on the step after it."""
    if step <= config.warmup:
        return config.lr * step / config.warmup
    if config.schedule == "multistep":
        return config.lr * 0.1 ** sum(step > milestone for milestone in config.milestones)
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return config.lr * (config.final_lr_mult + (1 - config.final_lr_mult) * cosine)


def ema_decay(decay: float, step: int) -> float:
    """Decay of the weight average at a step: small at first, so the average forgets the initial weights."""
    return min(decay, (1 + step) / (10 + step))
