"""A model's file: safetensors with the contract inside, written whole or not at all."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from blitznet.core.errors import ModelError
from blitznet.core.files import atomic_write
from blitznet.core.spec import METADATA_KEY, Spec, read_spec
from blitznet.nets.blitznet import BlitzNet, build


def save_model(path: Path, net: nn.Module, spec: Spec, *, dtype: torch.dtype = torch.float32) -> None:
    """Write weights and contract; a file that was there stays whole until the new one is.

    `dtype` is the kernels'; biases and batch norm stay float32, they are few and sensitive.
    Raises ModelError where a weight does not fit `dtype` or is not finite, and where the file cannot be written.
    """
    weights = {name: _stored(name, value, dtype) for name, value in net.state_dict().items()}
    atomic_write(Path(path), save(weights, metadata={METADATA_KEY: spec.to_json()}))


def load_model(path: Path) -> tuple[BlitzNet, Spec]:
    """The network, float32 on the CPU and in training mode, and its contract.

    Raises ModelError where the file is missing, is not a model of ours, or does not fit its contract.
    """
    weights, text = _read(Path(path))
    spec = read_spec(text, source=str(path))
    if text is not None and json.loads(text).get("version", 1) == 1:
        weights = upgrade_v1_weights(weights)
    return restore(spec, weights, source=str(path)), spec


_V1_PREFIXES = {
    "side.": "ssd_head.",
    "guide.": "detection_prior.",
    "segmentation.taps.": "segmentation.laterals.",
    "segmentation.detail.": "segmentation.fine_lateral.",
}


def upgrade_v1_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a version 1 file under the names of version 2."""
    upgraded = {}
    for name, value in weights.items():
        old = next((prefix for prefix in _V1_PREFIXES if name.startswith(prefix)), "")
        upgraded[_V1_PREFIXES.get(old, "") + name[len(old) :]] = value
    return upgraded


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


def require_fit(expected: dict[str, Tensor], actual: dict[str, Tensor], *, source: str) -> None:
    """Raise ModelError unless names and shapes of the weights are those that are wanted."""
    for what, names in (("misses", expected.keys() - actual.keys()), ("has unknown", actual.keys() - expected.keys())):
        if names:
            first = ", ".join(sorted(names)[:3])
            raise ModelError(f"{source}: {what} {len(names)} of the {len(expected)} weights: {first}")
    for name, value in expected.items():
        if value.shape != actual[name].shape:
            raise ModelError(f"{source}: {name}: expected shape {tuple(value.shape)}, got {tuple(actual[name].shape)}")


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
    }, metadata.get(METADATA_KEY)
