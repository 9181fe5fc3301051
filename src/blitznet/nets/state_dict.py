"""Read weights that other programs wrote: by name, as tensors, without code."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from blitznet.core.errors import ModelError

_MAX_REASON = 200
"""characters of torch's own message in an error"""


def read_state_dict(path: Path) -> Mapping[str, Tensor]:
    """Read a .safetensors file, or a file of `torch.save` that contains tensors only.

    Raises:
        ModelError: The file is missing, broken, or contains other objects, which could run code.
    """
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds of errors for a broken file
        reason = " ".join(str(error).split())[:_MAX_REASON]
        raise ModelError(f"{path}: expected a state dict, got an unreadable file ({reason})") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{path}: expected a state dict of tensors, got other values")
    return state
