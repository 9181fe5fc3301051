"""Networks that are small enough to build in every test, and specs of variants."""

from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import nn

from blitznet.core.models import SSDLITE_STRIDES, blitznet300_lite, blitznet300_lite_plain, blitznet300_s8
from blitznet.core.spec import Network, Spec
from blitznet.nets.blitznet import BlitzNet, build

NETWORK = Network(
    family="blitznet", encoder="resnet18", extra_levels=3, channels=16, hidden_channels=8, segmentation_channels=4
)


def small_spec() -> Spec:
    """A spec of the paper's blocks on a ResNet-18, with two classes."""
    return replace(blitznet300_s8(), name="small", classes=("cat", "dog"), size=(64, 64), network=NETWORK)


def lite_spec(**changes: Any) -> Spec:
    """The spec of a light network without additions, with changes of its `Network`."""
    base = blitznet300_lite_plain()
    return replace(base, network=replace(base.network, **changes))


def lite_spec_with_additions(**changes: Any) -> Spec:
    """The spec of the models of version 1: a light network with SSDLite's anchors and all additions but laterals."""
    additions = {"extra_levels": 4, "ssd_head": True, "ssd_box_head": True, "detection_prior": True}
    spec = lite_spec(**(additions | changes))
    return replace(spec, anchors=replace(spec.anchors, strides=SSDLITE_STRIDES))


def fpn_spec(**changes: Any) -> Spec:
    """The spec of the light network on a feature pyramid, with changes of its `Network`."""
    base = blitznet300_lite()
    return replace(base, network=replace(base.network, **changes))


@cache
def on_meta(spec: Spec) -> BlitzNet:
    """The network on the meta device: shapes without values."""
    with torch.device("meta"):
        return build(spec).eval()


def num_parameters(net: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in net.parameters())
