"""What a run must remember to go on as if it had never stopped: one safetensors file, replaced atomically.

No pickle: tensors by name (`net.`, `average.`, `optimizer.`) and the step in the header. Order and
augmentation of the samples need no memory, they are functions of the step (stream.py).
"""

import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from blitznet.core.errors import ModelError
from blitznet.train.ema import ModelEma
from blitznet.train.optimizer import load_state_tensors, state_tensors


def save_state(
    path: Path, step: int, *, net: nn.Module, optimizer: torch.optim.Optimizer, average: ModelEma | None
) -> None:
    """Write the state after update `step`; a crash in the middle leaves the file from before."""
    tensors = {f"net.{name}": value for name, value in net.state_dict().items()}
    tensors |= {f"optimizer.{name}": value for name, value in state_tensors(optimizer)}
    if average is not None:
        tensors |= {f"average.{name}": value for name, value in average.net.state_dict().items()}
    fresh = path.with_suffix(".tmp")
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, fresh, {"step": str(step)})
    with fresh.open("rb") as written:
        os.fsync(written.fileno())
    fresh.replace(path)


def load_state(path: Path, *, net: nn.Module, optimizer: torch.optim.Optimizer, average: ModelEma | None) -> int:
    """Read a state back into everything that was saved; gives the step it was saved after."""
    tensors: dict[str, dict[str, torch.Tensor]] = {"net": {}, "optimizer": {}, "average": {}}
    try:
        with safe_open(path, framework="pt") as file:
            step = int(file.metadata()["step"])
            for name in file.keys():  # noqa: SIM118 - not a mapping
                kind, rest = name.split(".", 1)
                tensors[kind][rest] = file.get_tensor(name)
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise ModelError(f"{path}: expected the state of a run, this cannot be read ({error}); remove it") from error
    try:
        net.load_state_dict(tensors["net"])
        load_state_tensors(optimizer, tensors["optimizer"])
        if average is not None:
            average.net.load_state_dict(tensors["average"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise ModelError(f"{path}: the state is of another network or optimizer; choose another --out") from error
    return step
