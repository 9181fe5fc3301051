"""Parameter groups and the optimizer: decay on convolution kernels only, a rate of its own for the encoder."""

from collections.abc import Iterator

import torch
from torch import nn

from blitznet.core.errors import UsageError
from blitznet.train.config import TrainConfig


def parameter_groups(net: nn.Module, config: TrainConfig) -> list[dict[str, object]]:
    """Four groups: (encoder and downscale stream | the rest) x (kernels, decayed | biases and norms, not).

    What does not learn is in none of them.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((_pretrained(name, config), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": config.weight_decay if kernel else 0.0,
            "scale": config.encoder_lr if pretrained else 1.0,
        }
        for (pretrained, kernel), parameters in groups.items()
    ]


def freeze(net: nn.Module, config: TrainConfig) -> None:
    """What does not learn wants no gradient: no step goes back through it, which spares half of a step."""
    still = still_parts(net, config)
    for name, parameter in net.named_parameters():
        if name.split(".", 1)[0] in still:
            parameter.requires_grad_(False)


def still_parts(net: nn.Module, config: TrainConfig) -> frozenset[str]:
    """The network's parts that stay as they are: at rate 0, or not among those that are to learn.

    Raises UsageError where a part is to learn that is not there, and where nothing is left that learns.
    """
    parts = {name for name, part in net.named_children() if next(part.parameters(), None) is not None}
    told = f"the network's parts are {', '.join(sorted(parts))}"
    if missing := sorted(set(config.learn) - parts):
        raise UsageError(f"--learn {' '.join(missing)}: there is no such part, {told}")
    still = parts & set(pretrained_parts(config)) if config.encoder_lr == 0 else set()
    if config.learn:
        still |= parts - set(config.learn)
    if still == parts:
        raise UsageError(f"nothing is left to learn at --encoder-lr 0: {told}")
    return frozenset(still)


def pretrained_parts(config: TrainConfig) -> tuple[str, ...]:
    """The network's parts that have the encoder's rate; a side that is SSDLite's whole head counts with it."""
    return ("encoder", "downscale", "ssd_head") if config.ssdlite else ("encoder", "downscale")


def _pretrained(name: str, config: TrainConfig) -> bool:
    return name.split(".", 1)[0] in pretrained_parts(config)


def make_optimizer(net: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer a run asks for; its rate is set at every step by `set_rate`.

    Fused: one pass over each parameter, a third of the time of the plain loop for the light network.
    """
    groups = parameter_groups(net, config)
    if config.optimizer == "adam":
        return torch.optim.Adam(groups, lr=config.lr, fused=True)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, fused=True)
    return torch.optim.SGD(groups, lr=config.lr, momentum=0.9, nesterov=True, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its share of the learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def state_tensors(optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor the optimizer remembers, as ('3.exp_avg', tensor); numbers as 0-d tensors."""
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            yield f"{index}.{key}", torch.as_tensor(value)


def load_state_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Give back what `state_tensors` took; the groups stay as they were made."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    whole = optimizer.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if len(parameters) <= max(state, default=0):
        raise ValueError("the optimizer state is of more parameters")
    laid_out = {
        index: {key: _like(value, parameters[index]) for key, value in values.items()}
        for index, values in state.items()
    }
    optimizer.load_state_dict({"state": laid_out, "param_groups": whole["param_groups"]})


def _like(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """The value laid out in memory as its parameter, so that the arithmetic goes on bit for bit."""
    if not value.ndim:
        return value
    if value.shape != parameter.shape:
        raise ValueError(f"expected shape {tuple(parameter.shape)}, got {tuple(value.shape)}")
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
