"""A network small enough to build in every test: the paper's blocks on a ResNet-18, two classes."""

from dataclasses import replace
from functools import cache

import torch
from torch import nn

from blitznet.core.models import blitznet300_s8
from blitznet.core.spec import Network, Spec
from blitznet.nets.blitznet import BlitzNet, build

NETWORK = Network(
    family="blitznet", encoder="resnet18", extra_levels=3, channels=16, hidden_channels=8, segmentation_channels=4
)


def small_spec() -> Spec:
    return replace(blitznet300_s8(), name="small", classes=("cat", "dog"), size=(64, 64), network=NETWORK)


@cache
def on_meta(spec: Spec) -> BlitzNet:
    """The network without memory: shapes only."""
    with torch.device("meta"):
        return build(spec).eval()


def trained(net: nn.Module) -> int:
    """Count of trainable values."""
    return sum(parameter.numel() for parameter in net.parameters())
