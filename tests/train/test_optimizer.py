"""Parameter groups, frozen modules, and the state of the optimizer."""

from typing import get_args

import pytest
import torch
from torch import nn

from blitznet.core.errors import UsageError
from blitznet.core.models import get_spec
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.train.config import Optimizer, TrainConfig
from blitznet.train.distributed import ProcessGroup
from blitznet.train.optimizer import (
    freeze,
    frozen_modules,
    load_state_tensors,
    make_optimizer,
    parameter_groups,
    set_learning_rate,
    state_tensors,
)
from blitznet.train.trainer import make_trainer, wrap_model
from support import tiny_models
from support.small_networks import fpn_spec


def build_on_meta(name: str) -> BlitzNet:
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
def test_only_kernels_decay(name: str, terms: int, values: int) -> None:
    net = build_on_meta(name)
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
def test_encoder_and_downscale_have_their_own_learning_rate(name: str) -> None:
    net = build_on_meta(name)
    optimizer = make_optimizer(net, TrainConfig(encoder_lr_mult=0.25))
    set_learning_rate(optimizer, 0.4)
    slow = {parameter for group in optimizer.param_groups for parameter in group["params"] if group["lr"] == 0.1}
    assert slow == {*net.encoder.parameters(), *net.downscale.parameters()}
    assert {group["lr"] for group in optimizer.param_groups} == {0.1, 0.4}


def trained_modules(net: BlitzNet) -> set[str]:
    return {name.split(".")[0] for name, parameter in net.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(
    ("config", "frozen"),
    [
        (TrainConfig(), set()),
        (TrainConfig(freeze=("encoder", "downscale")), {"encoder", "downscale"}),
        (
            TrainConfig(train_only=("segmentation", "upscale")),
            {"encoder", "downscale", "detection"},
        ),
    ],
)
def test_frozen_modules_are_in_no_parameter_group(config: TrainConfig, frozen: set[str]) -> None:
    net = build_on_meta("blitznet416-lite")
    freeze(net, config)
    assert frozen_modules(net, config) == frozen
    assert trained_modules(net) == {name for name, module in net.named_children() if list(module.parameters())} - frozen
    grouped = {parameter for group in parameter_groups(net, config) for parameter in _parameters(group)}
    assert grouped == {parameter for parameter in net.parameters() if parameter.requires_grad}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TrainConfig(train_only=("ssd_head",)), "--train-only: expected some of MODULES, got ssd_head"),
        (TrainConfig(freeze=("detection_prior",)), "--freeze: expected some of MODULES, got detection_prior"),
        (
            TrainConfig(freeze=("detection", "downscale", "encoder", "segmentation", "upscale")),
            "--freeze: expected at least one trained module, got all of MODULES",
        ),
    ],
)
def test_unknown_modules_and_no_trained_module_are_refused(config: TrainConfig, message: str) -> None:
    modules = "detection, downscale, encoder, segmentation, upscale"
    with pytest.raises(UsageError, match=f"^{message.replace('MODULES', modules)}$"):
        freeze(build_on_meta("blitznet300-lite-plain"), config)


def test_frozen_encoder_has_no_gradients() -> None:
    net, config = build(tiny_models.specs()[0]), TrainConfig(freeze=("encoder", "downscale"))
    freeze(net, config)
    net(torch.rand(2, 3, *tiny_models.specs()[0].size)).logits.sum().backward()
    assert all(parameter.grad is None for parameter in (*net.encoder.parameters(), *net.downscale.parameters()))
    assert all(parameter.grad is not None for parameter in net.upscale.parameters())


def test_more_modules_at_the_encoders_learning_rate() -> None:
    net = build_on_meta("blitznet300-lite")
    assert net.detection is not None
    config = TrainConfig(encoder_lr_mult=0.25, encoder_lr_modules=("encoder", "downscale", "detection"))
    groups = make_optimizer(net, config).param_groups
    slow = {parameter for group in groups if group["lr_mult"] == 0.25 for parameter in group["params"]}
    assert slow == {*net.encoder.parameters(), *net.downscale.parameters(), *net.detection.parameters()}


def test_parts_of_a_module_at_the_encoders_learning_rate() -> None:
    net = build_on_meta("blitznet300-lite")
    assert net.detection is not None
    config = TrainConfig(encoder_lr_mult=0.25, encoder_lr_modules=("detection.logits.1", "detection.box_features"))
    groups = make_optimizer(net, config).param_groups
    slow = {parameter for group in groups if group["lr_mult"] == 0.25 for parameter in group["params"]}
    logits, features = net.get_submodule("detection.logits.1"), net.get_submodule("detection.box_features")
    assert slow == {*logits.parameters(), *features.parameters()}


def test_an_unknown_module_is_an_error() -> None:
    net = build_on_meta("blitznet300-lite")
    with pytest.raises(UsageError, match=r"--encoder-lr-modules: .* got detection\.logit$"):
        make_optimizer(net, TrainConfig(encoder_lr_modules=("detection.logit",)))
    with pytest.raises(UsageError, match=r"--freeze-bn: .* got encoders$"):
        wrap_model(net, TrainConfig(freeze_bn=("encoders",)), ProcessGroup(0, 1, torch.device("cpu")))


@pytest.mark.parametrize("stages", [0, 1, 3])
def test_frozen_stages_stay_unchanged(stages: int) -> None:
    """Weights and running statistics of the first stages of the encoder; all others change."""
    torch.manual_seed(0)
    spec, config = fpn_spec(channels=16), TrainConfig(frozen_stages=stages, optimizer="adamw", lr=0.1)
    net = build(spec)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    trainer = make_trainer(net, spec, config, ProcessGroup(0, 1, torch.device("cpu")))
    outputs = trainer.model(torch.rand(2, 3, 96, 64))
    (outputs.logits.square().mean() + outputs.segmentation_logits.square().mean()).backward()
    trainer.optimizer.step()
    frozen = _pointers(net, stages)
    names = {name for name, value in net.state_dict().items() if value.data_ptr() in frozen}
    unchanged = {name for name, value in net.state_dict().items() if torch.equal(value, before[name])}
    assert len(frozen) == len(names)
    assert {name for name in unchanged if name.startswith("encoder.")} == names
    assert all((p.grad is None) == (name in names) for name, p in net.encoder.named_parameters(prefix="encoder"))


def _pointers(net: BlitzNet, stages: int) -> set[int]:
    """Addresses of the weights and statistics of the first stages."""
    modules = [module for stage in net.encoder.stages()[:stages] for module in stage]
    return {value.data_ptr() for module in modules for value in module.state_dict().values()}


def test_too_many_frozen_stages_are_refused() -> None:
    net = build_on_meta("blitznet300-lite")
    with pytest.raises(UsageError, match=r"^--frozen-stages: expected at most 4, got 5$"):
        freeze(net, TrainConfig(frozen_stages=5))
    with pytest.raises(UsageError, match=r"^--frozen-stages: expected 0 or more, got -1$"):
        TrainConfig(frozen_stages=-1)


def _by_hand(kind: str, start: float, gradients: tuple[float, ...], lr: float, decay: float) -> float:
    """A weight after steps with these gradients, from the formulas of the papers."""
    weight, first, second = start, 0.0, 0.0
    for step, gradient in enumerate(gradients, start=1):
        if kind == "adamw":  # Loshchilov and Hutter: decoupled decay
            weight -= lr * decay * weight
        else:
            gradient += decay * weight
        if kind == "sgd":  # Sutskever: Nesterov momentum 0.9
            first = 0.9 * first + gradient
            weight -= lr * (gradient + 0.9 * first)
            continue
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        weight -= lr * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)) ** 0.5 + 1e-8)
    return weight


@pytest.mark.parametrize("kind", get_args(Optimizer))
def test_steps_equal_the_formulas_of_the_papers(kind: Optimizer) -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1)).double()
    for parameter in net.parameters():
        nn.init.constant_(parameter, 0.7)
    optimizer = make_optimizer(net, TrainConfig(optimizer=kind, weight_decay=0.1))
    set_learning_rate(optimizer, 0.01)
    gradients = (0.3, -0.2, 0.5)
    for gradient in gradients:
        for parameter in net.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        optimizer.step()
    weight, bias = (float(parameter.detach()) for parameter in net.parameters())
    assert weight == pytest.approx(_by_hand(kind, 0.7, gradients, 0.01, 0.1), rel=1e-6)
    assert bias == pytest.approx(_by_hand(kind, 0.7, gradients, 0.01, 0.0), rel=1e-6)


@pytest.mark.parametrize("kind", get_args(Optimizer))
def test_state_is_restored_from_named_tensors(kind: Optimizer) -> None:
    first, second = (_optimizer_after_a_step(kind, seed) for seed in (0, 1))
    load_state_tensors(second, dict(state_tensors(first)))
    saved, loaded = first.state_dict()["state"], second.state_dict()["state"]
    assert saved.keys() == loaded.keys()
    for index, values in saved.items():
        assert values.keys() == loaded[index].keys()
        for key, value in values.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(loaded[index][key]))
    for group in second.param_groups:
        for parameter in group["params"]:
            tensors = [value for value in second.state[parameter].values() if torch.as_tensor(value).ndim]
            assert all(value.stride() == parameter.stride() for value in tensors)


def _optimizer_after_a_step(kind: Optimizer, seed: int) -> torch.optim.Optimizer:
    torch.manual_seed(seed)
    spec, _ = tiny_models.specs()
    net = build(spec).to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub
    optimizer = make_optimizer(net, TrainConfig(optimizer=kind))
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    return optimizer


def test_state_of_other_parameters_is_refused() -> None:
    optimizer = _optimizer_after_a_step("adam", 0)
    tensors = dict(state_tensors(optimizer))
    with pytest.raises(ValueError, match="expected shape"):
        load_state_tensors(optimizer, tensors | {"0.exp_avg": torch.zeros(2, 2)})
    with pytest.raises(ValueError, match="parameters, got more"):
        load_state_tensors(optimizer, tensors | {"9999.exp_avg": torch.zeros(2)})
