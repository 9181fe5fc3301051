"""Exponential moving average of a network's weights and running statistics."""

import copy

import torch
from torch import nn


class ModelEma:
    """A copy of the network that follows it slowly; `net` is what is evaluated and kept."""

    def __init__(self, net: nn.Module) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, net: nn.Module, decay: float) -> None:
        """Average = decay * average + (1 - decay) * net; counters are copied."""
        mine, theirs = self.net.state_dict(), net.state_dict()
        floats = [name for name, value in mine.items() if value.is_floating_point()]
        torch._foreach_lerp_([mine[name] for name in floats], [theirs[name] for name in floats], 1 - decay)
        for name in mine.keys() - set(floats):
            mine[name].copy_(theirs[name])
