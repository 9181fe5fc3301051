"""A model's file: safetensors with the contract inside, written whole or not at all."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from blitznet.core.contract import KEY, read_contract
from blitznet.core.errors import ModelError
from blitznet.core.files import write_whole
from blitznet.core.spec import Spec
from blitznet.nets.blitznet import BlitzNet, build


def save_model(path: Path, net: nn.Module, spec: Spec, *, dtype: torch.dtype = torch.float32) -> None:
    """Write weights and contract; a file that was there stays whole until the new one is.

    `dtype` is the kernels'; biases and batch norm stay float32, they are few and sensitive.
    Raises ModelError where a weight does not fit `dtype` or is not finite, and where the file cannot be written.
    """
    weights = {name: _stored(name, value, dtype) for name, value in net.state_dict().items()}
    write_whole(Path(path), save(weights, metadata={KEY: spec.to_json()}))


def load_model(path: Path) -> tuple[BlitzNet, Spec]:
    """The network, float32 on the CPU and in training mode, and its contract.

    Raises ModelError where the file is missing, is not a model of ours, or does not fit its contract.
    """
    weights, text = _read(Path(path))
    spec = read_contract(text, source=str(path))
    return restore(spec, weights, source=str(path)), spec


def restore(spec: Spec, weights: dict[str, Tensor], *, source: str) -> BlitzNet:
    """The network of a contract with these weights, which it takes over; `source` is named in errors."""
    # Built without memory or fresh weights: all of them are about to be put in.
    try:
        with torch.device("meta"):
            net = build(spec)
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from error
    require_fit(net.state_dict(), weights, source=source)
    net.load_state_dict(weights, assign=True)
    for parameter in net.parameters():
        parameter.requires_grad_(True)
    return net


def require_fit(wanted: dict[str, Tensor], came: dict[str, Tensor], *, source: str) -> None:
    """Raise ModelError unless names and shapes of the weights are those that are wanted."""
    for what, names in (("misses", wanted.keys() - came.keys()), ("has unknown", came.keys() - wanted.keys())):
        if names:
            first = ", ".join(sorted(names)[:3])
            raise ModelError(f"{source}: {what} {len(names)} of the {len(wanted)} weights: {first}")
    for name, value in wanted.items():
        if value.shape != came[name].shape:
            raise ModelError(f"{source}: {name}: wanted shape {tuple(value.shape)}, came {tuple(came[name].shape)}")


def _stored(name: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    kernel = value.is_floating_point() and value.ndim > 1
    stored = value.detach().to("cpu", dtype if kernel else value.dtype).contiguous()
    if stored.is_floating_point() and not stored.isfinite().all():
        raise ModelError(f"{name}: a weight is not finite as {stored.dtype}; nothing was written")
    return stored


def _read(path: Path) -> tuple[dict[str, Tensor], str | None]:
    try:
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            metadata: dict[str, str] = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read as safetensors ({error})") from error
    return {
        name: value.float() if value.is_floating_point() else value for name, value in weights.items()
    }, metadata.get(KEY)
