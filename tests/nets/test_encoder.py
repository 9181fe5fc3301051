"""Stages of the encoders: which modules compute which map."""

import pytest
import torch
from torch import nn

from blitznet.nets.encoder import make_encoder
from blitznet.nets.lite import LITE_ENCODERS
from blitznet.nets.parts import Encoder

NAMES = ("resnet18", "resnet50-caffe", *LITE_ENCODERS)


def build_encoder(name: str) -> Encoder:
    torch.manual_seed(0)
    return (LITE_ENCODERS[name]() if name in LITE_ENCODERS else make_encoder(name)).eval()


@pytest.mark.parametrize("name", NAMES)
def test_each_parameter_is_in_one_stage(name: str) -> None:
    with torch.device("meta"):
        encoder = build_encoder(name)
    stages = encoder.stages()
    assert len(stages) == len(encoder.strides)
    listed = [parameter for stage in stages for module in stage for parameter in module.parameters()]
    assert len(listed) == len({*listed})
    assert {*listed} == {*encoder.parameters()}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("resnet50-caffe", "efficientnet-lite2")])
def test_a_map_depends_on_its_stage_and_those_before_it(name: str) -> None:
    encoder = build_encoder(name)
    maps = encoder(torch.rand(1, 3, 33, 40))
    for index, x in enumerate(maps):
        parameters = tuple(encoder.parameters())
        gradients = torch.autograd.grad(x.sum(), parameters, retain_graph=True, allow_unused=True)
        used = {parameter for parameter, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
        stages = [{parameter for module in stage for parameter in module.parameters()} for stage in encoder.stages()]
        before = set().union(*stages[: index + 1])
        inside = used - before
        assert before <= used
        if name == "mobilenetv2-ssdlite" and index == 2:
            assert inside == {*_expansion(encoder).parameters()}
        else:
            assert not inside


def _expansion(encoder: Encoder) -> nn.Module:
    """The layer inside a block of MobileNetV2 that computes the map at stride 16."""
    return encoder.get_submodule("blocks.13.expand")
