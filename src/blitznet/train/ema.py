"""Exponential moving average of a network's weights and batch norm statistics."""

import copy

import torch
from torch import nn


class ModelEma:
    """A copy of the network whose weights are a moving average; `net` is evaluated and saved."""

    def __init__(self, net: nn.Module) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, net: nn.Module, decay: float) -> None:
        """Set average = decay * average + (1 - decay) * net; integer counters are copied."""
        averages, values = self.net.state_dict(), net.state_dict()
        floats = [name for name, value in averages.items() if value.is_floating_point()]
        torch._foreach_lerp_([averages[name] for name in floats], [values[name] for name in floats], 1 - decay)
        for name in averages.keys() - set(floats):
            averages[name].copy_(values[name])
