"""The resumable state of a run: one safetensors file, written atomically.

It contains tensors by name (`net.`, `average.` for the EMA, `optimizer.`), and in its metadata the step and a checksum
of the tensors; no pickle.
Sample order and augmentation are functions of the step (sampler.py) and need no state.
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from blitznet.core.errors import ModelError
from blitznet.core.files import atomic_write
from blitznet.train.ema import ModelEma
from blitznet.train.optimizer import load_state_tensors, state_tensors


def save_state(
    path: Path, step: int, *, net: nn.Module, optimizer: torch.optim.Optimizer, ema: ModelEma | None
) -> None:
    """Write the state after a step; a crash while writing leaves the previous file.

    Raises:
        UsageError: The file cannot be written.
    """
    tensors = {f"net.{name}": value for name, value in net.state_dict().items()}
    tensors |= {f"optimizer.{name}": value for name, value in state_tensors(optimizer)}
    if ema is not None:
        tensors |= {f"average.{name}": value for name, value in ema.net.state_dict().items()}
    stored = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    atomic_write(path, save(stored, {"step": str(step), "sha256": checksum(stored)}))


def checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of tensors on the CPU with their names, types and shapes: finds bytes that a disk has changed."""
    digest = sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_state(path: Path, *, net: nn.Module, optimizer: torch.optim.Optimizer, ema: ModelEma | None) -> int:
    """Read a state into the network, the optimizer and the EMA.

    Returns:
        The step after which the state was saved.

    Raises:
        ModelError: The file is not a state, is damaged, or belongs to another network or optimizer.
    """
    tensors: dict[str, dict[str, torch.Tensor]] = {"net": {}, "optimizer": {}, "average": {}}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            step = int(metadata["step"])
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        for name, value in stored.items():
            prefix, key = name.split(".", 1)
            tensors[prefix][key] = value
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise ModelError(f"{path}: expected the state of a run, got an unreadable file ({error}); delete it") from error
    if metadata.get("sha256", expected := checksum(stored)) != expected:  # states of older versions have none
        raise ModelError(f"{path}: expected the state as it was written, got changed bytes; delete it, or restore it")
    try:
        net.load_state_dict(tensors["net"])
        load_state_tensors(optimizer, tensors["optimizer"])
        if ema is not None:
            ema.net.load_state_dict(tensors["average"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise ModelError(
            f"{path}: expected the state of this network and optimizer, got another; choose another --out"
        ) from error
    return step
