"""The resumable state of a run: one safetensors file, written atomically.

It contains tensors by name (`net.`, `average.` for the EMA, `optimizer.`), and the step in its metadata; no pickle.
Sample order and augmentation are functions of the step (sampler.py) and need no state.
"""

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
    content = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, {"step": str(step)})
    atomic_write(path, content)


def load_state(path: Path, *, net: nn.Module, optimizer: torch.optim.Optimizer, ema: ModelEma | None) -> int:
    """Read a state into the network, the optimizer and the EMA.

    Returns:
        The step after which the state was saved.

    Raises:
        ModelError: The file is not a state, or belongs to another network or optimizer.
    """
    tensors: dict[str, dict[str, torch.Tensor]] = {"net": {}, "optimizer": {}, "average": {}}
    try:
        with safe_open(path, framework="pt") as file:
            step = int(file.metadata()["step"])
            for name in file.keys():  # noqa: SIM118 - not a mapping
                prefix, key = name.split(".", 1)
                tensors[prefix][key] = file.get_tensor(name)
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise ModelError(f"{path}: expected the state of a run, got an unreadable file ({error}); delete it") from error
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
