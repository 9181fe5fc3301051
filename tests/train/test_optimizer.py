"""Which weights decay, which rate they have, and what the optimizer remembers."""

from typing import get_args

import pytest
import torch
from torch import nn

from blitznet.core.errors import UsageError
from blitznet.core.models import get_spec
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.train.config import Optimizer, TrainConfig
from blitznet.train.optimizer import (
    freeze,
    load_state_tensors,
    make_optimizer,
    parameter_groups,
    set_rate,
    state_tensors,
    still_parts,
)
from support import tiny_models


def on_meta(name: str) -> BlitzNet:
    with torch.device("meta"):
        return build(get_spec(name))


@pytest.mark.parametrize(
    ("name", "terms", "values"),
    [
        ("blitznet300-s8", 106, 58_230_848),
        ("blitznet300-s4", 112, 59_278_208),
        ("blitznet512-s8", 118, 68_420_480),
        ("blitznet512-s4", 124, 69_467_840),
    ],
)
def test_what_decays_are_the_kernels_and_nothing_else(name: str, terms: int, values: int) -> None:
    net = on_meta(name)
    groups = parameter_groups(net, TrainConfig(weight_decay=5e-4))
    decayed = {parameter for group in groups if group["weight_decay"] for parameter in _parameters(group)}
    assert decayed == {module.weight for module in net.modules() if isinstance(module, nn.Conv2d)}
    assert len(decayed) == terms
    assert sum(parameter.numel() for parameter in decayed) == values
    listed = [parameter for group in groups for parameter in _parameters(group)]
    assert len(listed) == len({*listed}) == len(list(net.parameters()))
    assert {group["weight_decay"] for group in groups} == {0.0, 5e-4}


def _parameters(group: dict[str, object]) -> list[nn.Parameter]:
    parameters = group["params"]
    assert isinstance(parameters, list)
    return parameters


@pytest.mark.parametrize("name", ["blitznet300-s8", "blitznet300-lite"])
def test_encoder_and_downscale_stream_have_their_own_rate(name: str) -> None:
    net = on_meta(name)
    optimizer = make_optimizer(net, TrainConfig(encoder_lr=0.25))
    set_rate(optimizer, 0.4)
    slow = {parameter for group in optimizer.param_groups for parameter in group["params"] if group["lr"] == 0.1}
    assert slow == {*net.encoder.parameters(), *net.downscale.parameters()}
    assert {group["lr"] for group in optimizer.param_groups} == {0.1, 0.4}


@pytest.mark.parametrize("ssdlite", [False, True])
def test_what_learns_at_rate_0_is_left_out(ssdlite: bool) -> None:
    net, config = on_meta("blitznet300-lite"), TrainConfig(encoder_lr=0, ssdlite=ssdlite)
    freeze(net, config)
    learned = {parameter for group in parameter_groups(net, config) for parameter in _parameters(group)}
    kept = ("encoder", "downscale", "ssd_head") if ssdlite else ("encoder", "downscale")
    assert {name.split(".")[0] for name, one in net.named_parameters() if one not in learned} == {*kept}
    assert learned == {parameter for parameter in net.parameters() if parameter.requires_grad}


def test_only_parts_that_are_named_learn() -> None:
    net, config = on_meta("blitznet416-lite"), TrainConfig(learn=("segmentation", "detection_prior"))
    freeze(net, config)
    learned = {name.split(".")[0] for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert learned == {"segmentation", "detection_prior"}
    assert still_parts(net, config) == {"encoder", "downscale", "upscale", "detection", "ssd_head"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TrainConfig(learn=("segmentation", "detection_prior")), "--learn detection_prior: there is no such part, "),
        (TrainConfig(learn=("encoder",), encoder_lr=0), "nothing is left to learn at --encoder-lr 0: "),
    ],
)
def test_something_that_is_there_has_to_learn(config: TrainConfig, message: str) -> None:
    parts = "the network's parts are detection, downscale, encoder, segmentation, upscale$"
    with pytest.raises(UsageError, match=f"^{message}{parts}"):
        freeze(on_meta("blitznet300-lite-plain"), config)


def test_the_rest_learns_from_a_frozen_encoder() -> None:
    net, config = build(tiny_models.specs()[0]), TrainConfig(encoder_lr=0)
    freeze(net, config)
    net(torch.rand(2, 3, *tiny_models.specs()[0].size)).logits.sum().backward()
    assert all(parameter.grad is None for parameter in (*net.encoder.parameters(), *net.downscale.parameters()))
    assert all(parameter.grad is not None for parameter in net.upscale.parameters())


def test_a_side_that_is_ssdlites_head_learns_as_slowly_as_the_encoder() -> None:
    net = on_meta("blitznet300-lite")
    assert net.ssd_head is not None
    optimizer = make_optimizer(net, TrainConfig(encoder_lr=0.25, ssdlite=True))
    slow = {parameter for group in optimizer.param_groups if group["scale"] == 0.25 for parameter in group["params"]}
    assert slow == {*net.encoder.parameters(), *net.downscale.parameters(), *net.ssd_head.parameters()}


@pytest.mark.parametrize("kind", get_args(Optimizer))
def test_the_state_goes_through_named_tensors(kind: Optimizer) -> None:
    first, second = (_learned(kind, seed) for seed in (0, 1))
    load_state_tensors(second, dict(state_tensors(first)))
    mine, theirs = first.state_dict()["state"], second.state_dict()["state"]
    assert mine.keys() == theirs.keys()
    for index, values in mine.items():
        assert values.keys() == theirs[index].keys()
        for key, value in values.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(theirs[index][key]))
    for group in second.param_groups:
        for parameter in group["params"]:
            kept = [value for value in second.state[parameter].values() if torch.as_tensor(value).ndim]
            assert all(value.stride() == parameter.stride() for value in kept)


def _learned(kind: Optimizer, seed: int) -> torch.optim.Optimizer:
    torch.manual_seed(seed)
    spec, _ = tiny_models.specs()
    net = build(spec).to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub
    optimizer = make_optimizer(net, TrainConfig(optimizer=kind))
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    return optimizer


def test_a_state_of_other_parameters_is_refused() -> None:
    optimizer = _learned("adam", 0)
    tensors = dict(state_tensors(optimizer))
    with pytest.raises(ValueError, match="expected shape"):
        load_state_tensors(optimizer, tensors | {"0.exp_avg": torch.zeros(2, 2)})
    with pytest.raises(ValueError, match="of more parameters"):
        load_state_tensors(optimizer, tensors | {"9999.exp_avg": torch.zeros(2)})
