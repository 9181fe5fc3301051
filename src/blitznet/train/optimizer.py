"""Optimizer and parameter groups: weight decay on kernels only, a separate learning rate for the encoder."""

from collections.abc import Iterable, Iterator
from typing import get_args

import torch
from torch import nn

from blitznet.core.errors import UsageError
from blitznet.nets.blitznet import BlitzNet
from blitznet.train.config import ModuleName, TrainConfig


def parameter_groups(net: nn.Module, config: TrainConfig) -> list[dict[str, object]]:
    """Up to four groups of the trained parameters.

    Args:
        net: The network; parameters without gradient are in no group.
        config: Learning rates and weight decay.

    Returns:
        For `encoder_lr_modules` and for the rest: kernels, with weight decay, and biases and norms, without.

    Raises:
        UsageError: The network has no module of a name in `encoder_lr_modules`.
    """
    require_modules(net, "--encoder-lr-modules", config.encoder_lr_modules)
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            uses_encoder_lr = is_inside(name, config.encoder_lr_modules)
            groups.setdefault((uses_encoder_lr, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": config.weight_decay if is_kernel else 0.0,
            "lr_mult": config.encoder_lr_mult if uses_encoder_lr else 1.0,
        }
        for (uses_encoder_lr, is_kernel), parameters in groups.items()
    ]


def freeze(net: BlitzNet, config: TrainConfig) -> None:
    """Turn gradients off in the frozen modules and encoder stages, so the backward pass skips them.

    Raises:
        UsageError: The network lacks a module or a stage, or nothing is left to train.
    """
    frozen = frozen_modules(net, config)
    for name, parameter in net.named_parameters():
        if _module_name(name) in frozen:
            parameter.requires_grad_(False)
    for stage in frozen_encoder_stages(net, config):
        stage.requires_grad_(False)


def frozen_encoder_stages(net: BlitzNet, config: TrainConfig) -> tuple[nn.Module, ...]:
    """The modules of the encoder that `frozen_stages` keeps unchanged.

    Raises:
        UsageError: The encoder has fewer stages.
    """
    if not config.frozen_stages:
        return ()
    stages = net.encoder.stages()
    if config.frozen_stages > len(stages):
        raise UsageError(f"--frozen-stages: expected at most {len(stages)}, got {config.frozen_stages}")
    return tuple(module for stage in stages[: config.frozen_stages] for module in stage)


def frozen_modules(net: nn.Module, config: TrainConfig) -> frozenset[str]:
    """Names of the modules that `freeze` or `train_only` keeps unchanged.

    Raises:
        UsageError: The network has no module of a given name, or all modules are frozen.
    """
    modules = {name for name, module in net.named_children() if next(module.parameters(), None) is not None}
    for flag, names in (("--freeze", config.freeze), ("--train-only", config.train_only)):
        if unknown := sorted(set(names) - modules):
            raise UsageError(f"{flag}: expected some of {', '.join(sorted(modules))}, got {', '.join(unknown)}")
    frozen = modules - set(config.train_only) if config.train_only else set(config.freeze)
    if frozen == modules:
        raise UsageError(f"--freeze: expected at least one trained module, got all of {', '.join(sorted(modules))}")
    return frozenset(frozen)


def make_optimizer(net: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer of a run; `set_learning_rate` sets its rate before each step."""
    groups = parameter_groups(net, config)
    # Fused optimizers pass over each parameter once, which is three times as fast as the loop.
    if config.optimizer == "adam":
        return torch.optim.Adam(groups, lr=config.lr, fused=True)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, fused=True)
    return torch.optim.SGD(groups, lr=config.lr, momentum=0.9, nesterov=True, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group, times the group's multiplier."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_mult"]


def state_tensors(optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, torch.Tensor]]:
    """All state of the optimizer as pairs such as ('3.exp_avg', tensor); numbers are 0-d tensors."""
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            yield f"{index}.{key}", torch.as_tensor(value)


def load_state_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Load what `state_tensors` returned; the parameter groups stay unchanged.

    Raises:
        ValueError: The state belongs to other parameters.
    """
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if len(parameters) <= max(state, default=0):
        raise ValueError(f"expected the state of {len(parameters)} parameters, got more")
    matched = {
        index: {key: _with_layout_of(parameters[index], value) for key, value in values.items()}
        for index, values in state.items()
    }
    optimizer.load_state_dict({"state": matched, "param_groups": optimizer.state_dict()["param_groups"]})


def _with_layout_of(parameter: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """The value in its parameter's memory layout, which keeps the arithmetic identical bit for bit."""
    if not value.ndim:
        return value
    if value.shape != parameter.shape:
        raise ValueError(f"expected shape {tuple(parameter.shape)}, got {tuple(value.shape)}")
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def require_modules(net: nn.Module, flag: str, names: Iterable[str]) -> None:
    """Raise UsageError unless each is a module of any network (`encoder`) or of this one (`detection.logits.1`)."""
    own = {name for name, _ in net.named_modules()}
    for name in names:
        if name not in own and name not in get_args(ModuleName):
            raise UsageError(f"{flag}: expected names of modules such as encoder or detection.logits.1, got {name}")


def is_inside(name: str, modules: Iterable[str]) -> bool:
    """Whether a parameter or module of this name belongs to one of the modules."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def _module_name(parameter_name: str) -> str:
    """`encoder` of `encoder.stem.conv.weight`."""
    return parameter_name.split(".", 1)[0]
